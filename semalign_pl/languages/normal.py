"""Normal form: one spelling for texts that read the same, by rules that are data."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

import regex

_BLANKS = regex.compile(r"[\p{Cc}\p{DI}\p{Zl}\p{Zp}]|[\p{Zs}--\x20]|\x20\x20", regex.V1)
"""Characters that the rules for all languages change; most text has none, and skips them."""
_LITERAL = regex.compile(r"(?:\\u[0-9A-F]{4}|\\x20)(?!\s*[?*{#])")
_PASSES = 20
"""Number of passes after which rules that still change the text must be undoing each other."""


@dataclass(frozen=True)
class NormalForm:
    """Compiled rules of one language.

    Attributes:
        language: Code of the language, for messages.
        compatibility: Characters that are replaced by their compatibility decomposition; ``None`` for none.
        replacements: Literal prefix of a match, pattern and replacement, in order. The prefix is searched first,
            because most rules change nothing in most texts.
        everywhere: Patterns and replacements for all languages, applied next.
        order: Patterns of two signs in the wrong order, of a run of signs, and of one sign, whose group is its rank.
    """

    language: str
    compatibility: regex.Pattern[str] | None
    replacements: tuple[tuple[str, regex.Pattern[str], str], ...]
    order: tuple[regex.Pattern[str], regex.Pattern[str], regex.Pattern[str]] | None
    everywhere: tuple[tuple[regex.Pattern[str], str], ...]

    def __call__(self, text: str) -> str:
        """Apply the rules until nothing changes, so that the normal form is idempotent.

        Raises:
            ValueError: If the rules undo each other.
        """
        for _ in range(_PASSES):
            previous, text = text, self._once(text)
            if text == previous:
                return text
        raise ValueError(
            f"language {self.language!r}: replacements: they never settle on {text[:40]!r}; see that none makes what "
            "another one undoes, or what it replaces itself"
        )

    def _once(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text)
        if self.compatibility is not None:
            text = self.compatibility.sub(lambda match: unicodedata.normalize("NFKC", match[0]), text)
        for begins, pattern, replacement in self.replacements:
            if begins in text:
                text = pattern.sub(replacement, text)
        if _BLANKS.search(text):
            for pattern, replacement in self.everywhere:
                text = pattern.sub(replacement, text)
        if self.order is not None and self.order[0].search(text):
            _, run, sign = self.order
            text = run.sub(lambda match: _in_order(match[0], sign), text)
        return text.strip(" \n")


def _in_order(run: str, sign: regex.Pattern[str]) -> str:
    signs = sorted(sign.finditer(run), key=lambda match: match.lastindex or 0)
    return "".join(match[0] for match in signs)


def compile_rules(
    language: str, keeps: str, compatibility: str, replacements: Iterable[tuple[str, str]], order: Iterable[str]
) -> NormalForm:
    r"""Compile a language's rules, followed by those for all languages.

    The latter remove control characters and invisible format characters (Unicode's ``Default_Ignorable_Code_Point``:
    U+200B, U+FEFF, U+00AD, direction marks, ...), write line ends as ``\n`` and other white space as single spaces,
    without spaces at line ends and with at most one empty line in a row.
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
    r"""Literal prefix of every match of a pattern, from its leading ``\uXXXX`` and ``\x20``; may be empty.

    >>> _beginning(r"\u0041\u0042+(?=c)"), _beginning(r"\u0041|\u0042"), _beginning(r"\u0041\u0042?")
    ('AB', '', 'A')
    """
    literal, at = "", 0
    while "|" not in source and (match := _LITERAL.match(source, at)):
        literal, at = literal + chr(int(match[0][2:], 16)), match.end()
        if source[at : at + 1] == "+":
            break
    return literal


def pattern(source: str) -> regex.Pattern[str]:
    """Compile a language's pattern: version 1, verbose."""
    return regex.compile(source, regex.V1 | regex.VERBOSE)
