"""Near-duplicates within a corpus: rows whose letters are almost equal to those of an earlier row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from semalign_pl.data.cleaning.exact_leaks import letters
from semalign_pl.data.cleaning.leakage import gram_hashes
from semalign_pl.data.cleaning.preparation import Drop
from semalign_pl.data.storing.table import Table

SKETCH = 24
"""Number of smallest n-gram hashes kept per row (bottom-k sketch, Broder 1997). Two rows that differ in a tenth of
their letters have half of all 4-grams in common, so nearly all such pairs share two of these hashes."""
_BEFORE = 8  # maximum number of earlier rows with the same hash that a row is compared with
_CHUNK = 5000


def mark_near_duplicates(table: Table, fields: Sequence[str], similarity: float) -> Iterator[tuple[int, Drop]]:
    """Mark the rows that nearly repeat an earlier row.

    Args:
        table: Rows of the corpus that are kept so far.
        fields: Names of the fields that are compared.
        similarity: Minimum similarity, as for ``find_near_duplicates``.

    Yields:
        Index of a row, and the reason for dropping it.
    """
    for late, early, measured in find_near_duplicates(table, fields, similarity):
        yield late, Drop("near_duplicate", f"{measured:.2f} of {table[early]['id']}")


def find_near_duplicates(table: Table, fields: Sequence[str], similarity: float) -> Iterator[tuple[int, int, float]]:
    """Find rows that nearly repeat an earlier row.

    Rows are compared if they share two of their smallest n-gram hashes.

    Args:
        table: Rows of the corpus.
        fields: Names of the fields that are compared, joined to one text.
        similarity: Minimum of 1 - edits / length of the letters (Levenshtein).

    Yields:
        Index of a row, index of the earlier row, and their similarity; each row once, in ascending order.
    """
    dropped: set[int] = set()

    @lru_cache(maxsize=100_000)
    def text(row: int) -> str:
        return _text(table[row], fields)

    for late, early in _candidates(table, fields):
        if late in dropped or early in dropped:
            continue
        one, two = text(late), text(early)
        if (measured := Levenshtein.normalized_similarity(one, two, score_cutoff=similarity)) > 0:
            dropped.add(late)
            yield late, early, measured


def _text(row: dict[str, str | None], fields: Sequence[str]) -> str:
    return "".join(letters(row.get(name) or "") for name in fields)


def _candidates(table: Table, fields: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of a row and an earlier row that share two of their smallest n-gram hashes, in ascending order."""
    hashes, rows = [], []
    for start in range(0, len(table), _CHUNK):
        texts = [(_text(row, fields),) for row in table[start : start + _CHUNK]]
        sketch, owner = _sketches(*gram_hashes(texts))
        hashes.append(sketch)
        rows.append((owner + start).astype(np.uint32))
    hash_of = np.concatenate(hashes or [np.empty(0, np.uint64)])
    row_of = np.concatenate(rows or [np.empty(0, np.uint32)])
    # Sorted by hash, rows with the same hash are neighbours. Only the `_BEFORE` nearest are paired, because a common
    # hash would give a quadratic number of pairs.
    order = np.lexsort((row_of, hash_of))
    hash_of, row_of = hash_of[order], row_of[order]
    pairs = [np.empty((0, 2), np.uint32)]
    for back in range(1, _BEFORE + 1):
        same = hash_of[back:] == hash_of[:-back]
        pairs.append(np.stack([row_of[back:][same], row_of[:-back][same]], 1))
    # A pair of rows as one integer, so that counting equal integers counts shared hashes.
    both = np.concatenate(pairs).astype(np.uint64)
    pairs, shared = np.unique(both[:, 0] << np.uint64(32) | both[:, 1], return_counts=True)
    return [(int(pair) >> 32, int(pair) & 0xFFFFFFFF) for pair in pairs[shared >= 2]]


def _sketches(hashes: NDArray[np.uint64], owner: NDArray[np.int64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """The `SKETCH` smallest distinct hashes of each row, and the index of each one's row."""
    order = np.lexsort((hashes, owner))
    hashes, owner = hashes[order], owner[order]
    new = np.ones(len(hashes), bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (owner[1:] != owner[:-1])
    hashes, owner = hashes[new], owner[new]
    rank = np.arange(len(owner)) - np.searchsorted(owner, owner)
    return hashes[rank < SKETCH], owner[rank < SKETCH]
