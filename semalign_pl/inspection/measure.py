"""Counts of one file, chunk by chunk: nothing is kept of a row but its lengths and hashes."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semalign_pl.data.hashes import hash64
from semalign_pl.data.judge import Judged, Rows
from semalign_pl.data.leakage import is_long, letters
from semalign_pl.inspection.duplicates import Hashes, as_array, repeats
from semalign_pl.inspection.lengths import Lengths
from semalign_pl.inspection.scripts import script_mix
from semalign_pl.inspection.tokens import TokenCounter
from semalign_pl.languages import LanguageProfile, get_language

UNKNOWN = "?"
"""The language of a column that fits no profile."""


class Column:
    """Counts of the texts of one column.

    Args:
        name: The file's column.
        language: Its language; ``None`` counts words and says nothing of the language.
        tokens: Of the model; without it no tokens are counted.
    """

    def __init__(self, name: str, language: LanguageProfile | None, tokens: TokenCounter | None) -> None:
        self.name, self.language, self.tokens = name, language, tokens
        self.characters, self.units, self.token_lengths = Lengths(), Lengths(), Lengths()
        self._hashes: array[int] = array("Q")
        self._long = bytearray()
        self._segment = (language or get_language("en")).segment
        self._seen: Counter[str] = Counter()
        self._ids: Counter[int] = Counter()
        self._wholly = 0

    @property
    def unit(self) -> str:
        """What ``units`` counts."""
        return self.language.unit if self.language else "word"

    @property
    def hashes(self) -> Hashes:
        """Of each text the hash of its letters in normal form, by which equal ones are known: ``(rows,)``."""
        return as_array(self._hashes)

    @property
    def long(self) -> NDArray[np.bool_]:
        """Texts that are long enough to be a leak by themselves: ``(rows,)``."""
        return np.frombuffer(bytes(self._long), dtype=np.bool_)

    def add(self, texts: Sequence[str], normal: Sequence[str]) -> None:
        """Count some texts.

        Args:
            texts: As in the file.
            normal: The same in normal form.
        """
        self.characters.add(map(len, texts))
        self.units.add(len(self._segment(text)) for text in texts)
        for text in texts:
            self._seen.update(text)
        if self.language:
            self._wholly += sum(map(self.language.is_consistent, texts))
        if self.tokens:
            encoded = self.tokens.encode(texts)
            self.token_lengths.add(map(len, encoded))
            for ids in encoded:
                self._ids.update(ids)
        for text in map(letters, normal):
            self._hashes.append(hash64(text))
            self._long.append(is_long(text))

    def result(self, limits: Sequence[int]) -> dict[str, Any]:
        """The numbers.

        Args:
            limits: In tokens.
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
        }
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
        columns: By field.
        samples: Rows to keep as a sample, each as likely as any other.
        seed: Draws them.
    """

    def __init__(self, columns: Mapping[str, Column], samples: int, seed: int) -> None:
        self.columns = dict(columns)
        self._keys: array[int] = array("Q")
        self.sampled: list[tuple[int, str, dict[str, str]]] = []
        self._samples, self._random = samples, random.Random(seed)

    @property
    def rows(self) -> int:
        """How many rows were counted."""
        return len(self._keys)

    @property
    def keys(self) -> Hashes:
        """By which preparation knows duplicates; 0 for rows that it drops before it looks for them: ``(rows,)``."""
        return as_array(self._keys)

    def add(self, rows: Rows, judged: Sequence[Judged]) -> None:
        """Count some rows.

        Args:
            rows: As in the file.
            judged: What preparation says of each.
        """
        for field, column in self.columns.items():
            column.add([row[field] for _, row in rows], [one.row[field] for one in judged])
        for place, (id, row) in enumerate(rows, self.rows):
            at = place if place < self._samples else self._random.randrange(place + 1)
            if at < self._samples:
                self.sampled[at : at + 1] = [(place, id, dict(row))]
        self._keys.extend(one.key or 0 for one in judged)


def share(part: float, whole: float) -> float:
    """``part / whole``, 0 of nothing."""
    return part / whole if whole else 0.0
