"""One spelling for text that reads the same, by rules that are data."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import regex

_BLANKS = regex.compile(r"[\p{Cc}\p{DI}\p{Zl}\p{Zp}]|[\p{Zs}--\x20]|\x20\x20", regex.V1)
"""Without any of these, no rule for every language has anything to do; most text has none."""
_LITERAL = regex.compile(r"(?:\\u[0-9A-F]{4}|\\x20)(?!\s*[?*{#])")
_PASSES = 20
"""Rules that do not settle in so many passes undo each other."""


@dataclass(frozen=True)
class NormalForm:
    """The rules of one language, compiled.

    Attributes:
        language: Its code, for messages.
        compatibility: Characters that their compatibility decomposition replaces; ``None`` for none.
        replacements: Patterns and what replaces them, in order; each with text that a match begins with, which is
            looked for first, as most rules have nothing to do in most texts.
        everywhere: The same for every language; these come next.
        order: Two signs in the wrong order; a run of signs that have one; and one sign, its place being the group that
            matched.
    """

    language: str
    compatibility: regex.Pattern[str] | None
    replacements: tuple[tuple[str, regex.Pattern[str], str], ...]
    order: tuple[regex.Pattern[str], regex.Pattern[str], regex.Pattern[str]] | None
    everywhere: tuple[tuple[regex.Pattern[str], str], ...]

    def __call__(self, text: str) -> str:
        """The rules, again and again until nothing changes: so what comes out is left alone.

        Raises:
            ValueError: If they never settle.
        """
        for _ in range(_PASSES):
            before, text = text, self._once(text)
            if text == before:
                return text
        raise ValueError(
            f"language {self.language!r}: replacements: they never settle on {text[:40]!r}; see that none makes what "
            "another one undoes, or what it replaces itself"
        )

    def _once(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text)
        if self.compatibility is not None:
            text = self.compatibility.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
        for begins, pattern, replacement in self.replacements:
            if begins in text:
                text = pattern.sub(replacement, text)
        if _BLANKS.search(text):
            for pattern, replacement in self.everywhere:
                text = pattern.sub(replacement, text)
        if self.order is not None and self.order[0].search(text):
            _, run, sign = self.order
            text = run.sub(lambda found: _in_order(found[0], sign), text)
        return text.strip(" \n")


def _in_order(run: str, sign: regex.Pattern[str]) -> str:
    signs = sorted(sign.finditer(run), key=lambda found: found.lastindex or 0)
    return "".join(found[0] for found in signs)


def compile_rules(
    language: str, keeps: str, compatibility: str, replacements: Iterable[tuple[str, str]], order: Iterable[str]
) -> NormalForm:
    r"""A language's rules, followed by those for every language.

    Those drop control characters and invisible format characters (Unicode's ``Default_Ignorable_Code_Point``: U+200B,
    U+FEFF, U+00AD, direction marks, ...), write line ends as ``\n`` and other white space as single spaces, with none
    beside a line end and no more than one empty line in a row.
    """
    but = f"--[{keeps}]" if keeps else ""
    space = rf"[[\t\p{{Zs}}]{but}]"
    everywhere = (
        (r"\r\n?|[\v\f\x85\u2028\u2029]", "\n"),
        (rf"[[\p{{Cc}}[\p{{DI}}&&\p{{Cf}}]]--[\t\n]{but}]", ""),
        (rf"(?:[{space}--\x20]|\x20(?={space})){space}*", " "),
        (r"\x20+\n|\n\x20+", "\n"),
        (r"\n{3,}", "\n\n"),
    )
    signs = [f"{sign}\n" for sign in order]  # the line end closes a comment
    any_sign, its_place = ("|".join(f"({kind}{sign})" for sign in signs) for kind in ("?:", ""))
    wrong = "|".join(f"(?:{late})(?:{'|'.join(signs[:place])})" for place, late in enumerate(signs) if place)
    return NormalForm(
        language,
        pattern(compatibility) if compatibility else None,
        tuple((_beginning(old), pattern(old), new) for old, new in replacements),
        (pattern(wrong), pattern(f"(?:{any_sign}){{2,}}"), pattern(its_place)) if len(signs) > 1 else None,
        tuple((pattern(old), new) for old, new in everywhere),
    )


def _beginning(source: str) -> str:
    r"""The characters, written as ``\uXXXX`` or ``\x20``, that every match of a pattern begins with; may be none.

    >>> _beginning(r"\u0041\u0042+(?=c)"), _beginning(r"\u0041|\u0042"), _beginning(r"\u0041\u0042?")
    ('AB', '', 'A')
    """
    literal, at = "", 0
    while "|" not in source and (found := _LITERAL.match(source, at)):
        literal, at = literal + chr(int(found[0][2:], 16)), found.end()
        if source[at : at + 1] == "+":
            break
    return literal


def pattern(source: str) -> regex.Pattern[str]:
    """Compiled as all patterns of a profile are: version 1, verbose."""
    return regex.compile(source, regex.V1 | regex.VERBOSE)
