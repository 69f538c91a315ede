"""Counts of the texts of one column: lengths, characters, scripts, tokens and hashes; no text is kept."""

from __future__ import annotations

import unicodedata
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import regex
from numpy.typing import NDArray

from semalign_pl.data.cleaning.exact_leaks import Hashes, is_long, letters
from semalign_pl.data.cleaning.hashes import hash64
from semalign_pl.inspection.lengths import Lengths, Statistics, share
from semalign_pl.inspection.tokens import TokenCounter
from semalign_pl.languages import Language, get_language

UNKNOWN = "?"
"""Language code shown for a column that fits no language."""
MOST_FREQUENT = 20
"""Maximum number of characters to list that break the rule of the language."""
# Scripts of living languages, the most frequent in our corpora first. A script not listed counts as "other".
SCRIPTS = (
    *("Tibetan", "Han", "Latin", "Arabic", "Cyrillic", "Mongolian", "Yi", "Thai", "Lao", "Myanmar", "Khmer"),
    *("Devanagari", "Hiragana", "Katakana", "Hangul", "Bopomofo", "Greek", "Hebrew", "Armenian", "Georgian"),
    *("Bengali", "Gujarati", "Gurmukhi", "Kannada", "Malayalam", "Oriya", "Tamil", "Telugu", "Sinhala", "Newa"),
    *("Ethiopic", "Phags_Pa", "Lisu", "Miao", "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Lepcha", "Limbu"),
    *("Javanese", "Balinese", "Cham", "Meetei_Mayek", "Ol_Chiki", "Thaana", "Syriac", "Cherokee", "Nko", "Tifinagh"),
)
OTHER = "other"
_LETTER = regex.compile(r"\p{L}")
_SCRIPT = {script: regex.compile(rf"\p{{Script={script}}}") for script in SCRIPTS}


class Column:
    """Counts of the texts of one column.

    Args:
        name: Name of the column in the file.
        language: Language of the column; if ``None``, words are counted as in English and no language is checked.
        tokens: Tokenizer of the model; ``None`` to count no tokens.
    """

    def __init__(self, name: str, language: Language | None, tokens: TokenCounter | None) -> None:
        self.name, self.language, self.tokens = name, language, tokens
        self.characters, self.units, self.token_lengths = Lengths(), Lengths(), Lengths()
        self._hashes: array[int] = array("Q")
        self._long = bytearray()
        self._segment = (language or get_language("en")).segment
        self._characters: Counter[str] = Counter()
        self._ids: Counter[int] = Counter()
        self._legacy = 0
        self._breaking = BreakingCharacters()

    @property
    def unit(self) -> str:
        """Name of the unit that ``units`` counts, singular."""
        return self.language.unit if self.language else "word"

    @property
    def hashes(self) -> Hashes:
        """Hash of each text's letters in normal form, ``(rows,)`` uint64; equal texts have equal hashes."""
        return as_array(self._hashes)

    @property
    def long(self) -> NDArray[np.bool_]:
        """Mask of texts long enough to be a leak on their own, ``(rows,)`` bool."""
        return np.frombuffer(bytes(self._long), dtype=np.bool_)

    def add(self, texts: Sequence[str], normal: Sequence[str]) -> None:
        """Count more texts.

        Args:
            texts: Texts as in the file.
            normal: The same texts in normal form.
        """
        self.characters.add(map(len, texts))
        self.units.add(len(self._segment(text)) for text in texts)
        for text in texts:
            self._characters.update(text)
        if self.language:
            for text in texts:
                if not self.language.is_consistent(text):
                    self._breaking.add(self.language.foreign_characters(text))
        if self.language and self.language.legacy:
            self._legacy += sum(map(self.language.legacy.is_used, texts))
        if self.tokens:
            encoded = self.tokens.encode(texts)
            self.token_lengths.add(map(len, encoded))
            for ids in encoded:
                self._ids.update(ids)
        for text in map(letters, normal):
            self._hashes.append(hash64(text))
            self._long.append(is_long(text))

    def result(self, limits: Sequence[int]) -> Statistics:
        """Statistics of the column.

        Args:
            limits: Lengths in tokens; the share of longer texts is reported for each.
        """
        rows, repeated = len(self._hashes), count_repeats(self.hashes)
        statistics: Statistics = {
            "column": self.name,
            "language": self.language.code if self.language else UNKNOWN,
            "unit": self.unit,
            "characters": self.characters.summary(),
            "units": self.units.summary(),
            "tokens": None,
            "scripts": script_mix(self._characters),
            "wholly_in_language": (rows - self._breaking.texts) / rows if rows and self.language else None,
            "breaking_characters": self._breaking.result() if self.language else None,
            "duplicates": {"rows": repeated, "share": share(repeated, rows)},
            "encoding": None,
        }
        if self._legacy and self.language and self.language.legacy:
            remedy = self.language.legacy.remedy
            statistics["encoding"] = f"{self.name}: {self._legacy:,} of {rows:,} texts are {remedy}"
        if self.tokens:
            total = self.token_lengths.total
            statistics["tokens"] = {
                **self.token_lengths.summary(),
                "per_unit": share(total, self.units.total),
                "per_character": share(total, self.characters.total),
                **self.tokens.shares(self._ids),
                "longer_than": {str(limit): share(self.token_lengths.longer_than(limit), rows) for limit in limits},
            }
        return statistics


class BreakingCharacters:
    """Characters for which texts are not wholly in their language.

    Attributes:
        texts: Number of texts that are not wholly in their language.
        without: Number of those without such a character: they have no letters, too many signs, marks without a base,
            or a legacy encoding.
    """

    def __init__(self) -> None:
        self.texts = self.without = 0
        self._occurrences: Counter[str] = Counter()
        self._texts: Counter[str] = Counter()

    def add(self, characters: Sequence[str]) -> None:
        """Count a text that is not wholly in its language.

        Args:
            characters: Characters that may not occur in the language, as often as the text has them.
        """
        self.texts += 1
        self.without += not characters
        self._occurrences.update(characters)
        self._texts.update(set(characters))

    def result(self) -> Statistics:
        """Number of texts, and the characters that occur in most of them, with code point and Unicode name."""
        ranked = sorted(self._texts.items(), key=lambda item: (-item[1], -self._occurrences[item[0]], item[0]))
        return {
            "texts": self.texts,
            "without": self.without,
            "distinct": len(ranked),
            "most_frequent": [
                {
                    "character": character,
                    "code_point": f"U+{ord(character):04X}",
                    "name": unicodedata.name(character, "(no name)"),
                    "texts": texts,
                    "occurrences": self._occurrences[character],
                }
                for character, texts in ranked[:MOST_FREQUENT]
            ],
        }


def as_array(hashes: array[int]) -> Hashes:
    """Hashes as a NumPy array that shares their memory, ``(texts,)`` uint64."""
    return np.frombuffer(hashes, dtype=np.uint64) if hashes else np.empty(0, np.uint64)


def count_repeats(hashes: Hashes) -> int:
    """Number of texts that repeat an earlier one."""
    return len(hashes) - len(np.unique(hashes))


def script_of(letter: str) -> str:
    """Script of one letter; ``other`` if it is not among ``SCRIPTS``."""
    return next((script for script, pattern in _SCRIPT.items() if pattern.match(letter)), OTHER)


def script_mix(characters: Mapping[str, int], most: int = 5) -> dict[str, float]:
    """Share of each script in the letters, the largest first.

    Args:
        characters: Number of occurrences of each character.
        most: Maximum number of scripts to name; the rest is added to ``other``.
    """
    counts: Counter[str] = Counter()
    for character, count in characters.items():
        if _LETTER.match(character):
            counts[script_of(character)] += count
    total = counts.total()
    named = [(script, count) for script, count in counts.most_common() if script != OTHER][:most]
    rest = total - sum(count for _, count in named)
    return {script: count / total for script, count in [*named, *([(OTHER, rest)] if rest else [])]}
