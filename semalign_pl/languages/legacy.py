"""Legacy encodings that use a script's own code points in another way, so that no test of scripts can see them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import regex

from semalign_pl.languages.normal import pattern


@dataclass(frozen=True)
class Legacy:
    """Legacy encoding, as data; text in it must be converted before anything else.

    Attributes:
        name: Name of the encoding.
        signs: Regex of sequences that occur in it and are impossible in Unicode's order of a syllable.
        unicode: Regex of sequences that occur in Unicode text but not in it.
        converter: Program that converts it to Unicode, for messages.
    """

    name: str
    signs: str
    unicode: str
    converter: str

    def is_used(self, text: str) -> bool:
        """Return true if ``text`` has more signs of this encoding than of Unicode; a typing error is not enough."""
        if self._signs.search(text) is None:
            return False
        return len(self._signs.findall(text)) > len(self._unicode.findall(text))

    @property
    def remedy(self) -> str:
        """Name of the encoding and command that converts it, for the end of a message."""
        return f"{self.name}, not Unicode; convert it first, with {self.converter}"

    @cached_property
    def _signs(self) -> regex.Pattern[str]:
        return pattern(self.signs)

    @cached_property
    def _unicode(self) -> regex.Pattern[str]:
        return pattern(self.unicode)
