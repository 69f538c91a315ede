"""English: words between spaces and punctuation."""

from __future__ import annotations

import unicodedata

import regex

from semalign_pl.languages.profile import LanguageProfile

_UNIT = regex.compile(r"[\p{L}\p{M}\p{Nd}]+(?:['’][\p{L}\p{M}]+)*|\S", regex.V1)


def segment(text: str) -> list[str]:
    """Words (``don't`` is one) and single signs of the text in Unicode NFC; white space dropped."""
    return _UNIT.findall(unicodedata.normalize("NFC", text))


ENGLISH = LanguageProfile("en", "English", "English", ("Latin",), "word", segment)
