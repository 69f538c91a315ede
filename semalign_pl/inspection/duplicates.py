"""Equal rows and texts, found by 64-bit hashes: a corpus of millions of rows takes eight bytes per text."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]


def as_array(hashes: array[int]) -> Hashes:
    """Hashes as a NumPy array that shares their memory, ``(texts,)`` uint64."""
    return np.frombuffer(hashes, dtype=np.uint64) if hashes else np.empty(0, np.uint64)


def repeats(hashes: Hashes) -> int:
    """Number of texts that repeat an earlier one."""
    return len(hashes) - len(np.unique(hashes))


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
