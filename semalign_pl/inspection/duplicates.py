"""Equal rows and texts found by 64-bit hashes, so that a corpus of millions of rows takes eight bytes per text."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]


def as_array(hashes: array[int]) -> Hashes:
    """The same memory as numbers."""
    return np.frombuffer(hashes, dtype=np.uint64) if hashes else np.empty(0, np.uint64)


def repeats(hashes: Hashes) -> int:
    """How many texts repeat an earlier one."""
    return len(hashes) - len(np.unique(hashes))


def largest_groups(hashes: Hashes, count: int, of_each: int) -> list[tuple[int, list[int]]]:
    """Groups of equal texts: how often each occurs and where, the most frequent first.

    Args:
        hashes: One per text.
        count: Groups at most.
        of_each: Places at most of each group, the first ones.
    """
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    sizes = np.diff(starts, append=len(ordered))
    starts, sizes = starts[sizes > 1], sizes[sizes > 1]
    frequent = np.lexsort((order[starts], -sizes))[:count]
    return [(int(sizes[i]), order[starts[i] : starts[i] + min(sizes[i], of_each)].tolist()) for i in frequent]
