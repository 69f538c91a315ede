"""What the project knows of one language: its script, its spelling and its unit of text."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cached_property

import regex

from semalign_pl.languages.legacy import Legacy
from semalign_pl.languages.normal import NormalForm, compile_rules, pattern

NEUTRAL = r"[\p{P}\p{N}\p{Sm}\p{Sc}\p{Zs}\t\n\r°℃&&\p{Script_Extensions=Common}]"
"""Characters that belong to no script: punctuation, digits, mathematical and currency signs, ° and ℃, white space.

``Script_Extensions`` rather than ``Script``: U+3002 IDEOGRAPHIC FULL STOP has the script Common, but Unicode lists it
as used with Han and not with Tibetan, whereas U+300A LEFT DOUBLE ANGLE BRACKET is listed for both.
"""


_ANY_LETTER = regex.compile(r"\p{L}")


@dataclass(frozen=True)
class LanguageProfile:
    """One language, as data; ``profiles.yaml`` holds those that are known, and says what each key means.

    Attributes:
        code: The name a config uses: ISO 639-1, with the script where a language has two.
        name: The English name, for prompts and reports.
        native: The language's own name, for prompts.
        scripts: Values of the Unicode property ``Script`` that letters and marks may have.
        unit: What ``segment`` cuts text into (``syllable``, ``character``, ``word``); metric signatures name it.
        pattern: Regex (version 1, verbose) of one unit.
        chinese: The Chinese name, for prompts in Chinese.
        letters: Regex set of the letters and marks used, where that is less than all of the scripts'.
        allowed: Members of a regex set, allowed beside the scripts' characters and the neutral ones.
        keeps: Members of a regex set: characters without ink that mean something here.
        compatibility: Regex set of characters that are replaced by their compatibility decomposition.
        replacements: Patterns and replacements that give text its one spelling.
        order: Patterns of signs, in the order in which a run of them is written.
        source: Where the facts are from.
        legacy: Another encoding of the same code points, if there is one.
    """

    code: str
    name: str
    native: str
    scripts: tuple[str, ...]
    unit: str
    pattern: str
    chinese: str = ""
    letters: str = ""
    allowed: str = ""
    keeps: str = ""
    compatibility: str = ""
    replacements: tuple[tuple[str, str], ...] = ()
    order: tuple[str, ...] = ()
    source: str = ""
    legacy: Legacy | None = None

    def is_consistent(self, text: str) -> bool:
        r"""Whether ``text`` is wholly in this language by Unicode rules: the paper's ``R_lang``.

        True if at least one letter is of the language, and every character is either a neutral one or one that Unicode
        says is used with the scripts (property ``Script_Extensions``). So no letter or mark of another script or
        outside the alphabet, no U+FFFD, no emoji, no private use, no control character except tab and line breaks, and
        no format character (U+200B, U+FEFF) that is not the script's own.

        Source: method.md, "Reward"; Unicode Standard Annex 24, as shipped with the installed ``regex``.
        """
        return self._wholly.fullmatch(text) is not None and self._letter.search(text) is not None

    def share(self, text: str) -> float:
        """Share of the letters of ``text`` that are of the language, in [0, 1]; 0 where there is no letter."""
        if self._foreign_letter.search(text) is None:  # nearly all text, and a fraction of the time
            return 1.0 if self._letter.search(text) else 0.0
        return len(self._letter.findall(text)) / len(_ANY_LETTER.findall(text))

    def segment(self, text: str) -> list[str]:
        """Cut ``text`` into units; white space and separators between units are dropped, punctuation is a unit.

        Only Unicode NFC comes first, not ``normalise``: scores are of what was written.
        """
        return self._unit.findall(unicodedata.normalize("NFC", text))

    def normalise(self, text: str) -> str:
        r"""The one spelling of ``text`` that corpora are prepared in; what it returns it leaves alone.

        NFC, the language's replacements and order of signs; control and invisible characters dropped, line ends as
        ``\n``, other white space as single spaces. Nothing that can be seen is dropped: what is of another script, or
        U+FFFD, stays for ``is_consistent`` to find. Text in a legacy encoding is returned as it is.
        """
        return text if self.legacy is not None and self.legacy.is_used(text) else self._normal(text)

    @cached_property
    def _unit(self) -> regex.Pattern[str]:
        return pattern(self.pattern)

    @cached_property
    def _normal(self) -> NormalForm:
        return compile_rules(self.code, self.keeps, self.compatibility, self.replacements, self.order)

    @cached_property
    def _letter(self) -> regex.Pattern[str]:
        scripts = "".join(rf"\p{{Script={script}}}" for script in self.scripts)
        within = f"&&{self.letters}" if self.letters else ""
        return regex.compile(rf"[\p{{L}}&&[{scripts}]{within}]", regex.V1)

    @cached_property
    def _foreign_letter(self) -> regex.Pattern[str]:
        return regex.compile(rf"[\p{{L}}--{self._letter.pattern}]", regex.V1)

    @cached_property
    def _wholly(self) -> regex.Pattern[str]:
        used_with = "".join(rf"\p{{Script_Extensions={script}}}" for script in self.scripts)
        outside = ""
        if self.letters:
            scripts = "".join(rf"\p{{Script={script}}}" for script in self.scripts)
            outside = rf"--[[\p{{L}}\p{{M}}]&&[{scripts}]--{self.letters}]"
        return regex.compile(rf"[[[{used_with}]{outside}]{NEUTRAL}{self.allowed}{self.keeps}]++", regex.V1)
