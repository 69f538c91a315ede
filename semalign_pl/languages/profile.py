"""What the project knows of one language: its script and its unit of text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import regex

NEUTRAL = r"[\p{P}\p{N}\p{Sm}\p{Sc}\p{Zs}\t\n\r°℃&&\p{Script_Extensions=Common}]"
"""Characters that belong to no script: punctuation, digits, mathematical and currency signs, ° and ℃, white space.

``Script_Extensions`` rather than ``Script``: U+3002 IDEOGRAPHIC FULL STOP has the script Common, but Unicode lists it
as used with Han and not with Tibetan, whereas U+300A LEFT DOUBLE ANGLE BRACKET is listed for both.
"""


_ANY_LETTER = regex.compile(r"\p{L}")


@dataclass(frozen=True)
class LanguageProfile:
    """One language, as data.

    Attributes:
        code: ISO 639-1 code, the name a config uses.
        name: The English name, for prompts and reports.
        native: The language's own name, for prompts.
        scripts: Values of the Unicode property ``Script`` that letters and marks may have.
        unit: What ``segment`` cuts text into (``syllable``, ``character``, ``word``); metric signatures name it.
        segmenter: The function behind ``segment``. It returns non-empty units that hold no white space.
        neutral: A ``regex`` (version 1) character class allowed beside the scripts' own characters.
    """

    code: str
    name: str
    native: str
    scripts: tuple[str, ...]
    unit: str
    segmenter: Callable[[str], list[str]]
    neutral: str = NEUTRAL

    def is_consistent(self, text: str) -> bool:
        r"""Whether ``text`` is wholly in this language by Unicode rules: the paper's ``R_lang``.

        True if at least one letter is of the scripts, and every character is either a neutral one or one that Unicode
        says is used with the scripts (property ``Script_Extensions``). So no letter or mark of another script, no
        U+FFFD, no emoji, no private use, no control character except tab and line breaks, and no format character
        (U+200B, U+FEFF) that is not the script's own.

        Source: method.md, "Reward"; Unicode Standard Annex 24, as shipped with the installed ``regex``.
        """
        return self._wholly.fullmatch(text) is not None and self._letter.search(text) is not None

    def share(self, text: str) -> float:
        """Share of the letters of ``text`` that are of the scripts, in [0, 1]; 0 where there is no letter."""
        letters = len(_ANY_LETTER.findall(text))
        return len(self._letter.findall(text)) / letters if letters else 0.0

    def segment(self, text: str) -> list[str]:
        """Cut ``text`` into units; white space and separators between units are dropped, punctuation is a unit."""
        return self.segmenter(text)

    @cached_property
    def _letter(self) -> regex.Pattern[str]:
        scripts = "".join(rf"\p{{Script={script}}}" for script in self.scripts)
        return regex.compile(rf"[\p{{L}}&&[{scripts}]]", regex.V1)

    @cached_property
    def _wholly(self) -> regex.Pattern[str]:
        used_with = "".join(rf"\p{{Script_Extensions={script}}}" for script in self.scripts)
        return regex.compile(rf"[{used_with}{self.neutral}]++", regex.V1)
