"""Counts of one file, chunk by chunk: only lengths, hashes and a few sample rows are kept."""

from __future__ import annotations

import random
from array import array
from collections.abc import Mapping, Sequence

import numpy as np

from semalign_pl.data.cleaning.exact_leaks import Hashes
from semalign_pl.data.cleaning.row_filter import MarkedRow, Rows
from semalign_pl.inspection.column import Column, as_array


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

    def add(self, rows: Rows, marked: Sequence[MarkedRow]) -> None:
        """Count more rows.

        Args:
            rows: Id and texts of each row, as in the file.
            marked: The same rows in normal form, with the reasons for dropping them.
        """
        for field, column in self.columns.items():
            column.add([row[field] for _, row in rows], [one.row[field] for one in marked])
        for place, (id, row) in enumerate(rows, self.rows):
            at = place if place < self._samples else self._random.randrange(place + 1)
            if at < self._samples:
                self.sampled[at : at + 1] = [(place, id, dict(row))]
        self._keys.extend(one.key or 0 for one in marked)


def largest_groups(hashes: Hashes, count: int, of_each: int) -> list[tuple[int, list[int]]]:
    """Groups of equal texts, the most frequent first.

    Args:
        hashes: Hash per text.
        count: Maximum number of groups.
        of_each: Maximum number of indices per group; the first ones are returned.

    Returns:
        Per group, the number of equal texts and the indices of the first of them.
    """
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    sizes = np.diff(starts, append=len(ordered))
    starts, sizes = starts[sizes > 1], sizes[sizes > 1]
    frequent = np.lexsort((order[starts], -sizes))[:count]
    return [(int(sizes[i]), order[starts[i] : starts[i] + min(sizes[i], of_each)].tolist()) for i in frequent]
