"""Exact leaks and duplicates: the letters of a text, their hashes, and rows that repeat each other by these."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np
import regex
from numpy.typing import NDArray

from semalign_pl.data.cleaning.hashes import hash64, row_hashes

_NOT_TEXT = regex.compile(r"[^\p{L}\p{M}\p{N}]+")
_SHORT = 8  # minimum letters of a text whose repetition alone is a leak
_EMPTY = np.uint64(hash64(""))

Texts = tuple[str, ...]
Hashes = NDArray[np.uint64]
Mask = NDArray[np.bool_]


def letters(text: str) -> str:
    """Letters of a text, for comparison: letters, marks and digits in lower case, without tsheg and punctuation.

    For a text of signs alone, such as the answers √ and ×, the signs.

    Args:
        text: Text in any normal form.
    """
    text = unicodedata.normalize("NFC", text)
    return (_NOT_TEXT.sub("", text) or "".join(text.split())).lower()


def is_long(text: str) -> bool:
    """Return true if a text has enough letters to be a leak by itself, unlike "A", "是" or "Article 5".

    Args:
        text: Text from ``letters``.
    """
    return len(text) >= _SHORT


def hash_texts(rows: Sequence[Texts]) -> tuple[Hashes, Mask]:
    """Hash of each text, and a mask of the texts that are long enough to be a leak by themselves.

    Args:
        rows: Texts of each row, from ``letters``; all rows have the same number of texts.

    Returns:
        Two arrays of shape ``(rows, texts)``: uint64 hashes, and bool mask.
    """
    shape = (len(rows), len(rows[0]) if rows else 0)
    texts = [text for row in rows for text in row]
    hashes = np.fromiter(map(hash64, texts), np.uint64, len(texts)).reshape(shape)
    return hashes, np.fromiter(map(is_long, texts), bool, len(texts)).reshape(shape)


class ExactIndex:
    """Index of rows that finds the rows which repeat one of them: as a whole, or by one text that is long enough.

    It needs only the hashes of the texts, so that two long files can be compared.

    Args:
        groups: Rows with the same number of texts each: hashes and mask as from ``hash_texts``, and the index to report
            for each row, ``(rows,)`` int64.
    """

    def __init__(self, groups: Iterable[tuple[Hashes, Mask, NDArray[np.int64]]]) -> None:
        keys, owner = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        for hashes, long, rows in groups:
            row_keys, valid = self._keys(hashes, long)
            keys.append(row_keys[valid])
            owner.append(np.repeat(rows, valid.sum(1)))
        keys, owner = np.concatenate(keys), np.concatenate(owner)
        # If several rows have the same key, the earliest is reported.
        order = np.lexsort((owner, keys))
        self.keys, first = np.unique(keys[order], return_index=True)
        self.owner = owner[order][first]

    @classmethod
    def of_texts(cls, rows: Sequence[Texts]) -> ExactIndex:
        """Index rows by their texts.

        Args:
            rows: Texts of each row, from ``letters``; their number may differ from row to row.
        """
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        places = [np.flatnonzero(lengths == length) for length in np.unique(lengths)]
        return cls((*hash_texts([rows[i] for i in at.tolist()]), at) for at in places)

    @staticmethod
    def _keys(hashes: Hashes, long: Mask) -> tuple[Hashes, Mask]:
        """Keys of each row, ``(rows, 1 + texts)``: the whole row, then each text; and a mask of the keys that count."""
        # A row without any letter says nothing, so it repeats nothing.
        return (
            np.hstack([row_hashes(hashes)[:, None], hashes]),
            np.hstack([(hashes != _EMPTY).any(1)[:, None], long]),
        )

    def find(self, hashes: Hashes, long: Mask) -> NDArray[np.int64]:
        """Find what each row repeats.

        Args:
            hashes: Hashes of the texts' letters, ``(rows, texts)`` uint64.
            long: Mask of the texts that are long enough to be a leak by themselves, ``(rows, texts)`` bool.

        Returns:
            Index of the indexed row, or -1, ``(rows, 1 + texts)``: for the row as a whole, then for each text.
        """
        keys, valid = self._keys(hashes, long)
        if not len(self.keys):
            return np.full(keys.shape, -1)
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(valid & (self.keys[at] == keys), self.owner[at], -1)
