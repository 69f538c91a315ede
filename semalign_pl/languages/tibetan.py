"""Tibetan: syllables end at a tsheg, clauses at a shad."""

from __future__ import annotations

import unicodedata

import regex

from semalign_pl.languages.profile import LanguageProfile

TSHEG = "\u0f0b"
TSHEG_BSTAR = "\u0f0c"
"""The tsheg that forbids a line break; the same mark to a reader."""

_UNIT = regex.compile(
    r"""[[\p{L}\p{M}]&&\p{Script=Tibetan}]+  # a syllable: letters with their subjoined letters, vowels and marks
      | \p{Nd}+                              # a number, in Tibetan or other digits
      | \p{Script=Han}                       # a Chinese character
      | [\p{L}\p{M}--\p{Script=Tibetan}--\p{Script=Han}]+  # a foreign word
      | [^\s\u0F0B\u0F0C]                    # a shad, a bracket, any other mark or sign, on its own
    """,
    regex.V1 | regex.VERBOSE,
)


def normalise(text: str) -> str:
    """One spelling for text that reads the same.

    Unicode NFC (canonical order of vowel signs), U+0F0C as U+0F0B, runs of white space as one space, none at the ends.
    Shad are kept as written: U+0F0E is not unfolded into two U+0F0D.
    """
    text = unicodedata.normalize("NFC", text).replace(TSHEG_BSTAR, TSHEG)
    return regex.sub(r"\s+", " ", text).strip()


def segment(text: str) -> list[str]:
    """Syllables, numbers, foreign words and single marks of the normalised text, in order; tsheg and space dropped."""
    return _UNIT.findall(normalise(text))


TIBETAN = LanguageProfile("bo", "Tibetan", "བོད་ཡིག", ("Tibetan",), "syllable", segment)
