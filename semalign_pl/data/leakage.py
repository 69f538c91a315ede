"""Which training rows are evaluation rows over again: word for word, or nearly so."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import regex
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from semalign_pl.data.hashes import row_hashes

N = 4
"""Letters an n-gram: with a fifth of the letters changed 0.8 ** 4 = 41 % of the 4-grams are left, few by chance."""

_NOT_TEXT = regex.compile(r"[^\p{L}\p{M}\p{N}]+")
_SHORT = 8  # letters of a text that is a leak by itself
_LONG = 30  # letters of a row; below, rows that are one word apart say different things
_SIMILAR, _SIMILAR_FIELD = 0.66, 0.6
_CONTAINED, _PASSAGE = 0.85, 60  # share of n-grams; letters of the shorter text, _LONG where rows are of other kinds
_RARE, _RARE_PASSAGE = 4.25, 5.0  # mean nats of what is shared: on average in 1.4 % and 0.7 % of all rows
_CANDIDATES = 8

Texts = tuple[str, ...]


@dataclass(frozen=True)
class Leak:
    """A row that an evaluation row is found in.

    Attributes:
        id: The evaluation row's.
        kind: ``exact`` (a text is the same but for case, spaces and punctuation) or ``near``.
        similarity: 1 for exact; else 1 - edits / length of the rows' letters (Levenshtein), or the share of a text's
            4-grams that lie in the other.
    """

    id: str
    kind: Literal["exact", "near"]
    similarity: float


def letters(text: str) -> str:
    """The part of a text by which it is compared: letters, marks and digits in lower case, no tsheg or punctuation.

    A text of signs alone, such as the answers √ and ×, is compared by its signs.
    """
    text = unicodedata.normalize("NFC", text)
    return (_NOT_TEXT.sub("", text) or "".join(text.split())).lower()


def is_long(text: str) -> bool:
    """Letters are enough to be a leak by themselves; "A", "是" or "Article 5" of two rows are none."""
    return len(text) >= _SHORT


def _exact_keys(texts: Texts) -> list[str | Texts]:
    """The row as a whole and each of its long texts: of two rows that share one, one is an exact leak of the other."""
    return [texts, *filter(is_long, texts)] if any(texts) else []


def gram_hashes(rows: Sequence[Texts]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of all n-grams of some rows, none across the border of two texts.

    Args:
        rows: Texts as ``letters`` leaves them.

    Returns:
        Hashes and the row of each, both ``(n-grams,)``, rows ascending.
    """
    texts = [text for row in rows for text in row]
    owner = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    if len(points) < N:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    width = len(points) - N + 1
    hashes = row_hashes(np.lib.stride_tricks.sliding_window_view(points, N))
    text_of = np.repeat(np.arange(len(texts)), lengths)
    whole = text_of[:width] == text_of[N - 1 :]
    return hashes[whole], owner[text_of[:width][whole]]


class LeakIndex:
    """Finds, for training rows, the evaluation row that they repeat.

    A row leaks if one of its texts is one of the evaluation row's (``exact``); or if it is *near*: at least 0.66 of all
    letters and 0.6 of each text's are the same in the same order, or 85 % of the 4-grams of one text of 60 letters or
    more lie in another. What the near ones share must be rare, because set phrases ("then the Blessed One spoke in
    verse") make rows alike that have nothing to do with each other.

    Measured on 60,000 classical Chinese-Tibetan pairs and their 1,000 dev pairs: see ``tests/data/test_leakage.py``.
    """

    def __init__(self, evaluation: Iterable[tuple[str, Texts]], background: Iterable[Texts] = ()) -> None:
        """Indexes evaluation rows.

        Args:
            evaluation: Id and texts of each row; memory grows with them (about 100 bytes a letter).
            background: Rows, such as some of the training corpus, that show which phrases are common.
        """
        named = [(id, tuple(map(letters, texts))) for id, texts in evaluation]
        self.ids, self.rows = [id for id, _ in named], [texts for _, texts in named]
        self._exact: dict[str | Texts, int] = {}
        for i, texts in enumerate(self.rows):
            for key in _exact_keys(texts):
                self._exact.setdefault(key, i)
        self._lengths = np.array([sum(map(len, texts)) for texts in self.rows], int)
        hashes, owner = gram_hashes(self.rows)
        postings = np.unique(np.stack([hashes, owner.astype(np.uint64)], 1), axis=0)
        self._grams, start, self._count = np.unique(postings[:, 0], return_index=True, return_counts=True)
        self._start, self._owner = start, postings[:, 1].astype(np.int64)
        others = [tuple(map(letters, texts)) for texts in background]
        seen, by = self._known(*gram_hashes(others))
        rows_with = np.unique(seen * max(1, len(others)) + by) // max(1, len(others))
        frequency = self._count + np.bincount(rows_with, minlength=len(self._grams))
        size = len(self.rows) + len(others)
        self._rarity = np.log(size / frequency)
        self._most = 0.5 * math.log(max(1, size))  # in a small corpus nothing can be as rare as that
        # A gram of every tenth row tells nothing of which one it is; a small corpus needs them all.
        self._telling = (self._count <= max(20, size // 1000)) & (frequency <= max(20, size // 10))

    def _known(self, hashes: NDArray[np.uint64], owner: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray]:
        """Indices of those n-grams that an evaluation row has, and whose they are."""
        if not len(self._grams):
            return np.empty(0, np.int64), owner[:0]
        at = np.minimum(np.searchsorted(self._grams, hashes), len(self._grams) - 1)
        there = self._grams[at] == hashes
        return at[there], owner[there]

    def find(self, rows: Sequence[Texts]) -> list[Leak | None]:
        """The leak of each row, or ``None``.

        Args:
            rows: Texts; give some thousands at once, which is quicker than one.
        """
        return self.find_letters([tuple(map(letters, texts)) for texts in rows])

    def find_letters(self, keys: Sequence[Texts]) -> list[Leak | None]:
        """As ``find``, for texts that went through ``letters`` already."""
        found: list[Leak | None] = [self._repeated(texts) for texts in keys]
        for row, other, shared in self._candidates(keys):
            best = found[row]
            if best is None or best.kind == "near":
                similarity = self._nearness(keys[row], self.rows[other], shared)
                if similarity and (best is None or similarity > best.similarity):
                    found[row] = Leak(self.ids[other], "near", similarity)
        return found

    def _repeated(self, texts: Texts) -> Leak | None:
        for key in _exact_keys(texts):
            if key in self._exact:
                return Leak(self.ids[self._exact[key]], "exact", 1.0)
        return None

    def _candidates(self, keys: Sequence[Texts]) -> list[tuple[int, int, int]]:
        """For each row the few evaluation rows that share most telling n-grams with it, and how many; at least two."""
        at, owner = self._known(*gram_hashes(keys))
        telling = self._telling[at]
        at, owner = at[telling], owner[telling]
        counts = self._count[at]
        # Each n-gram's postings, laid out one after the other.
        steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        pairs = np.repeat(owner, counts) * len(self.rows) + self._owner[np.repeat(self._start[at], counts) + steps]
        pairs, shared = np.unique(pairs, return_counts=True)
        row, other = pairs // max(1, len(self.rows)), pairs % max(1, len(self.rows))
        ours, theirs = np.array([sum(map(len, key)) for key in keys], int)[row], self._lengths[other]
        # Rows of too different a length can only hold one another; rows that are too short are never near.
        alike = np.minimum(ours, theirs) >= _SIMILAR * np.maximum(ours, theirs)
        near = (shared >= 2) & (theirs >= _LONG) & (alike | (shared >= _LONG // 2))
        row, other, shared = row[near], other[near], shared[near]
        order = np.lexsort((-shared, row))
        found = np.stack([row, other, shared], 1)[order]
        rank = np.arange(len(row)) - np.searchsorted(found[:, 0], found[:, 0])
        return [(r, o, s) for r, o, s in found[rank < _CANDIDATES].tolist()]

    def _nearness(self, texts: Texts, others: Texts, shared: int) -> float:
        """Similarity in (0, 1] of a row to an evaluation row that it is near to, else 0."""
        similarity = 0.0
        if len(texts) == len(others):
            whole = Levenshtein.normalized_similarity("".join(texts), "".join(others), score_cutoff=_SIMILAR)
            if whole and all(
                Levenshtein.normalized_similarity(text, other, score_cutoff=_SIMILAR_FIELD)
                for text, other in zip(texts, others, strict=True)
            ):
                rare = self._rarity_of_shared(texts, others) >= min(_RARE, self._most)
                similarity = whole if rare else 0.0
        least = _PASSAGE if len(texts) == len(others) else _LONG
        if not similarity and shared >= least // 2:
            within = max((_containment(t, o, least) for t in texts for o in others), default=0.0)
            rare = within and self._rarity_of_shared(texts, others) >= min(_RARE_PASSAGE, self._most)
            similarity = within if rare else 0.0
        return similarity

    def _rarity_of_shared(self, texts: Texts, others: Texts) -> float:
        """Mean of log(rows / rows with it) over the n-grams that two rows share, in nats."""
        one, two = (np.unique(gram_hashes([row])[0]) for row in (texts, others))
        at, _ = self._known(shared := np.intersect1d(one, two), np.zeros(len(shared), np.int64))
        return float(self._rarity[at].mean()) if len(at) else 0.0


def _containment(text: str, other: str, least: int) -> float:
    """Share of the shorter text's n-grams that lie in the longer one, where that is a leak."""
    if min(len(text), len(other)) < least:
        return 0.0
    one, two = (set(gram_hashes([(t,)])[0].tolist()) for t in (text, other))
    share = len(one & two) / max(1, min(len(one), len(two)))
    return share if share >= _CONTAINED else 0.0
