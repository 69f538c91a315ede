"""Counts of one file, chunk by chunk: only lengths, hashes and a few sample rows are kept."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semalign_pl.data.cleaning.hashes import hash64
from semalign_pl.data.cleaning.leakage import is_long, letters
from semalign_pl.data.cleaning.row_filter import Judged, Rows
from semalign_pl.inspection.duplicates import Hashes, as_array, repeats
from semalign_pl.inspection.lengths import Lengths
from semalign_pl.inspection.scripts import script_mix
from semalign_pl.inspection.tokens import TokenCounter
from semalign_pl.languages import Language, get_language

UNKNOWN = "?"
"""Language code shown for a column that fits no language."""


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
        self._seen: Counter[str] = Counter()
        self._ids: Counter[int] = Counter()
        self._wholly = self._legacy = 0

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
            self._seen.update(text)
        if self.language:
            self._wholly += sum(map(self.language.is_consistent, texts))
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

    def result(self, limits: Sequence[int]) -> dict[str, Any]:
        """Statistics of the column.

        Args:
            limits: Lengths in tokens; the share of longer texts is reported for each.
        """
        rows, repeated = len(self._hashes), repeats(self.hashes)
        numbers: dict[str, Any] = {
            "column": self.name,
            "language": self.language.code if self.language else UNKNOWN,
            "unit": self.unit,
            "characters": self.characters.summary(),
            "units": self.units.summary(),
            "tokens": None,
            "scripts": script_mix(self._seen),
            "wholly_in_language": self._wholly / rows if rows and self.language else None,
            "duplicates": {"rows": repeated, "share": share(repeated, rows)},
            "encoding": None,
        }
        if self._legacy and self.language and self.language.legacy:
            remedy = self.language.legacy.remedy
            numbers["encoding"] = f"{self.name}: {self._legacy:,} of {rows:,} texts are {remedy}"
        if self.tokens:
            total = self.token_lengths.total
            numbers["tokens"] = {
                **self.token_lengths.summary(),
                "per_unit": share(total, self.units.total),
                "per_character": share(total, self.characters.total),
                **self.tokens.shares(self._ids),
                "longer_than": {str(limit): share(self.token_lengths.longer_than(limit), rows) for limit in limits},
            }
        return numbers


class Measure:
    """Counts of one file.

    Args:
        columns: Columns to count, by field.
        samples: Number of rows to keep as a uniform random sample (reservoir sampling).
        seed: Seed of the sample.
    """

    def __init__(self, columns: Mapping[str, Column], samples: int, seed: int) -> None:
        self.columns = dict(columns)
        self._keys: array[int] = array("Q")
        self.sampled: list[tuple[int, str, dict[str, str]]] = []
        self._samples, self._random = samples, random.Random(seed)

    @property
    def rows(self) -> int:
        """Number of rows counted."""
        return len(self._keys)

    @property
    def keys(self) -> Hashes:
        """Hash per row by which preparation finds duplicates, ``(rows,)`` uint64; 0 for rows that a filter drops."""
        return as_array(self._keys)

    def add(self, rows: Rows, judged: Sequence[Judged]) -> None:
        """Count more rows.

        Args:
            rows: Id and texts of each row, as in the file.
            judged: Row in normal form and its filter result, one per row.
        """
        for field, column in self.columns.items():
            column.add([row[field] for _, row in rows], [one.row[field] for one in judged])
        for place, (id, row) in enumerate(rows, self.rows):
            at = place if place < self._samples else self._random.randrange(place + 1)
            if at < self._samples:
                self.sampled[at : at + 1] = [(place, id, dict(row))]
        self._keys.extend(one.key or 0 for one in judged)


def share(part: float, whole: float) -> float:
    """``part / whole``; 0 if ``whole`` is 0."""
    return part / whole if whole else 0.0
