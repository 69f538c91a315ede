"""Chinese: one unit a character."""

from __future__ import annotations

import unicodedata

import regex

from semalign_pl.languages.profile import LanguageProfile

_UNIT = regex.compile(
    r"""\p{Script=Han}                     # a character
      | \p{Nd}+                            # a number
      | [\p{L}\p{M}--\p{Script=Han}]+      # a foreign word
      | \S                                 # any other sign
    """,
    regex.V1 | regex.VERBOSE,
)


def segment(text: str) -> list[str]:
    """Characters, with numbers and foreign words kept whole, of the text in Unicode NFC; white space dropped."""
    return _UNIT.findall(unicodedata.normalize("NFC", text))


CHINESE = LanguageProfile("zh", "Chinese", "中文", ("Han",), "character", segment)
