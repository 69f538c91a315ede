"""Have we seen this text before? Eight bytes a text, however long it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def hash64(text: str) -> int:
    """A hash of 64 bits, the same in every process; two of five million texts collide with probability 1e-6."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def row_hashes(texts: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One hash per row, of the hashes of its texts in their order: ``(rows, texts)`` to ``(rows,)``."""
    mixed = np.zeros(len(texts), np.uint64)
    for column in texts.T:
        mixed = (mixed ^ column) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed


class HashSet:
    """A set of 64-bit hashes as few sorted arrays, the larger ones twice the smaller: 5 million take 40 MB, not 400."""

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []

    def add(self, hashes: Iterable[int]) -> list[bool]:
        """Adds hashes in order, and says of each whether it was there before; of equal ones the first was not."""
        new = np.fromiter(hashes, np.uint64)
        unique, first = np.unique(new, return_index=True)
        seen = np.ones(len(new), bool)
        seen[first] = self._contains(unique)
        run = np.sort(new[~seen])
        while self._runs and len(self._runs[-1]) <= 2 * len(run):
            run = np.sort(np.concatenate([self._runs.pop(), run]))
        if len(run):
            self._runs.append(run)
        return seen.tolist()

    def _contains(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        found = np.zeros(len(hashes), bool)
        for run in self._runs:
            found |= run[np.minimum(np.searchsorted(run, hashes), len(run) - 1)] == hashes
        return found
