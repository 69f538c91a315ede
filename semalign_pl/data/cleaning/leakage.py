"""Leak search: training rows that repeat an evaluation row, exactly or nearly."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import Levenshtein

from semalign_pl.data.cleaning.exact_leaks import ExactIndex, Hashes, Mask, Texts, hash_texts, letters
from semalign_pl.data.cleaning.hashes import row_hashes

N = 4
"""Letters per n-gram: with a fifth of the letters changed 0.8 ** 4 = 41 % of the 4-grams remain; few by chance."""

_LONG = 30  # minimum letters of a near row; in shorter rows one changed word changes the meaning
_SIMILAR, _SIMILAR_FIELD = 0.66, 0.6
_CONTAINED, _PASSAGE = 0.85, 60  # share of n-grams; letters of the shorter text, _LONG if the rows have other fields
_RARE, _RARE_PASSAGE = 4.25, 5.0  # mean rarity of shared n-grams in nats: they occur in 1.4 % and 0.7 % of all rows
_CANDIDATES = 8


@dataclass(frozen=True)
class Leak:
    """Leak: the evaluation row that a training row repeats.

    Attributes:
        row: Index of the evaluation row.
        id: Id of the evaluation row.
        kind: ``exact`` (a text is equal up to case, spaces and punctuation) or ``near``.
        similarity: 1 for exact; else 1 - edits / length of the rows' letters (Levenshtein), or the share of one text's
            4-grams that occur in the other.
    """

    row: int
    id: str
    kind: Literal["exact", "near"]
    similarity: float


def gram_hashes(rows: Sequence[Texts]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Hashes of all n-grams of some rows; an n-gram never spans two texts.

    Args:
        rows: Texts of each row, from ``letters``.

    Returns:
        Hashes, ``(n-grams,)`` uint64, and the index of each one's row, ``(n-grams,)`` int64, ascending.
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
    """Index of evaluation rows that finds training rows which repeat them.

    A row is an *exact* leak if one of its texts equals a text of the evaluation row. It is a *near* leak if

    - at least 0.66 of all letters, and 0.6 of each text's letters, are equal in the same order, or
    - at least 85 % of the 4-grams of a text of 60 letters or more occur in a text of the other row.

    The n-grams that near rows share must be rare, because set phrases ("then the Blessed One spoke in verse") make
    unrelated rows similar.

    Measured on 60,000 classical Chinese-Tibetan pairs and their 1,000 dev pairs: see ``tests/data/test_leakage.py``.
    """

    def __init__(
        self,
        evaluation: Iterable[tuple[str, Texts]],
        background: Iterable[Texts] = (),
        forms: Callable[[Texts], Iterable[Texts]] = lambda texts: [texts],
    ) -> None:
        """Build the index.

        Args:
            evaluation: Id and texts of each evaluation row; the index takes about 100 bytes per letter.
            background: Texts of other rows, such as some of the training corpus, to measure which phrases are common.
            forms: Function from the texts of an evaluation row to all forms in which a row may repeat them.
        """
        # Letters alone are compared, because a copy of a corpus may have other spaces, punctuation and case.
        self.ids, self.rows, self._places = list[str](), list[Texts](), list[int]()
        for place, (id, texts) in enumerate(evaluation):
            for form in dict.fromkeys(tuple(map(letters, form)) for form in forms(texts)):
                self.ids.append(id)
                self.rows.append(form)
                self._places.append(place)
        self._exact = ExactIndex.of_texts(self.rows)
        self._lengths = np.array([sum(map(len, texts)) for texts in self.rows], int)
        # Inverted index, so that a training row is compared only with the evaluation rows that share n-grams with it:
        # for each n-gram ``_grams[i]``, the ``_count[i]`` evaluation rows ``_owner[_start[i]:]``.
        hashes, owner = gram_hashes(self.rows)
        postings = np.unique(np.stack([hashes, owner.astype(np.uint64)], 1), axis=0)
        self._grams, start, self._count = np.unique(postings[:, 0], return_index=True, return_counts=True)
        self._start, self._owner = start, postings[:, 1].astype(np.int64)
        # Rarity of each n-gram, from the number of evaluation and background rows that have it, because set phrases
        # occur in unrelated rows.
        others = [tuple(map(letters, texts)) for texts in background]
        gram, row = self._look_up(*gram_hashes(others))
        # A pair of n-gram and row as one integer, each once: an n-gram that a row repeats counts as one row.
        once_per_row = np.unique(gram * max(1, len(others)) + row) // max(1, len(others))
        frequency = self._count + np.bincount(once_per_row, minlength=len(self._grams))
        size = len(self.rows) + len(others)
        self._rarity = np.log(size / frequency)
        self._rarity_cap = 0.5 * math.log(max(1, size))  # cap on _RARE: in a small corpus no n-gram is that rare
        # An n-gram of every tenth row does not tell rows apart. A small corpus needs all n-grams.
        self._is_distinctive = (self._count <= max(20, size // 1000)) & (frequency <= max(20, size // 10))

    def _look_up(self, hashes: NDArray[np.uint64], owner: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray]:
        """Indices of the n-grams that occur in an evaluation row, and their owners."""
        if not len(self._grams):
            return np.empty(0, np.int64), owner[:0]
        at = np.minimum(np.searchsorted(self._grams, hashes), len(self._grams) - 1)
        is_indexed = self._grams[at] == hashes
        return at[is_indexed], owner[is_indexed]

    def find(self, rows: Sequence[Texts]) -> list[Leak | None]:
        """Find the leak of each row.

        Args:
            rows: Texts of each row; some thousands at once are faster than one by one.

        Returns:
            One leak per row; ``None`` for a row that repeats no evaluation row.
        """
        return self.find_letters([tuple(map(letters, texts)) for texts in rows])

    def find_letters(self, rows: Sequence[Texts], hashes: tuple[Hashes, Mask] | None = None) -> list[Leak | None]:
        """Find the leak of each row, from the letters of its texts.

        Args:
            rows: Texts of each row, from ``letters``; all rows have the same number of texts.
            hashes: Result of ``hash_texts`` for the rows, if it is known.

        Returns:
            One leak per row, as from ``find``.
        """
        # 1. Exact leaks cost one binary search per text, and need no further comparison.
        repeated = self._exact.find(*(hashes or hash_texts(rows)))
        first = np.take_along_axis(repeated, (repeated >= 0).argmax(1)[:, None], 1)[:, 0].tolist() if len(rows) else []
        leaks: list[Leak | None] = [self._leak(row, "exact", 1.0) if row >= 0 else None for row in first]
        # 2. For the others, n-grams tell the few evaluation rows that are worth the cost of an edit distance.
        for row, other, shared in self._candidates(rows):
            best = leaks[row]
            if best is None or best.kind == "near":
                # 3. Of several near rows the most similar one is reported, because it is the easiest to check by eye.
                similarity = self._similarity(rows[row], self.rows[other], shared)
                if similarity and (best is None or similarity > best.similarity):
                    leaks[row] = self._leak(other, "near", similarity)
        return leaks

    def _leak(self, row: int, kind: Literal["exact", "near"], similarity: float) -> Leak:
        return Leak(self._places[row], self.ids[row], kind, similarity)

    def _candidates(self, rows: Sequence[Texts]) -> list[tuple[int, int, int]]:
        """Candidate pairs: for each row, the few evaluation rows that share most distinctive n-grams with it.

        Returns:
            Triples of the row, the evaluation row, and the number of shared n-grams, at least two.
        """
        # 1. N-grams that no evaluation row has, and n-grams that nearly all rows have, cannot tell rows apart.
        at, owner = self._look_up(*gram_hashes(rows))
        distinctive = self._is_distinctive[at]
        at, owner = at[distinctive], owner[distinctive]
        counts = self._count[at]
        # 2. The postings of each n-gram, one n-gram after the other: all in one array, since a loop in Python over the
        # n-grams would take most of the time of the search.
        steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        # 3. A pair of rows as one integer, so that counting equal integers counts shared n-grams.
        pairs = np.repeat(owner, counts) * len(self.rows) + self._owner[np.repeat(self._start[at], counts) + steps]
        pairs, shared = np.unique(pairs, return_counts=True)
        row, other = pairs // max(1, len(self.rows)), pairs % max(1, len(self.rows))
        ours, theirs = np.array([sum(map(len, texts)) for texts in rows], int)[row], self._lengths[other]
        # 4. If the lengths differ too much, one row can only contain the other. Short rows are never near, because one
        # changed word changes their meaning.
        comparable = np.minimum(ours, theirs) >= _SIMILAR * np.maximum(ours, theirs)
        possible = (shared >= 2) & (theirs >= _LONG) & (comparable | (shared >= _LONG // 2))
        row, other, shared = row[possible], other[possible], shared[possible]
        # 5. Of each row, keep the evaluation rows with most shared n-grams: an edit distance is expensive.
        order = np.lexsort((-shared, row))
        triples = np.stack([row, other, shared], 1)[order]
        rank = np.arange(len(row)) - np.searchsorted(triples[:, 0], triples[:, 0])
        return [(r, o, s) for r, o, s in triples[rank < _CANDIDATES].tolist()]

    def _similarity(self, texts: Texts, others: Texts, shared: int) -> float:
        """Similarity of a row to an evaluation row, in (0, 1]; 0 if it is not a near leak."""
        similarity = 0.0
        # Most letters of the rows are equal, and most of each text: a new translation of the same source is no leak.
        if len(texts) == len(others):
            whole = Levenshtein.normalized_similarity("".join(texts), "".join(others), score_cutoff=_SIMILAR)
            if whole and all(
                Levenshtein.normalized_similarity(text, other, score_cutoff=_SIMILAR_FIELD)
                for text, other in zip(texts, others, strict=True)
            ):
                rare = self._rarity_of_shared(texts, others) >= min(_RARE, self._rarity_cap)
                similarity = whole if rare else 0.0
        # Or one text is nearly within another; between rows of the same fields, only a long one is a leak.
        least = _PASSAGE if len(texts) == len(others) else _LONG
        if not similarity and shared >= least // 2:
            within = max((_containment(t, o, least) for t in texts for o in others), default=0.0)
            rare = within and self._rarity_of_shared(texts, others) >= min(_RARE_PASSAGE, self._rarity_cap)
            similarity = within if rare else 0.0
        return similarity

    def _rarity_of_shared(self, texts: Texts, others: Texts) -> float:
        """Mean rarity of the n-grams that two rows share: log(rows / rows with the n-gram), in nats."""
        one, two = (np.unique(gram_hashes([row])[0]) for row in (texts, others))
        at, _ = self._look_up(shared := np.intersect1d(one, two), np.zeros(len(shared), np.int64))
        return float(self._rarity[at].mean()) if len(at) else 0.0


def _containment(text: str, other: str, least: int) -> float:
    """Share of the shorter text's n-grams that occur in the longer one; 0 if too small for a leak."""
    if min(len(text), len(other)) < least:
        return 0.0
    one, two = (set(gram_hashes([(t,)])[0].tolist()) for t in (text, other))
    share = len(one & two) / max(1, min(len(one), len(two)))
    return share if share >= _CONTAINED else 0.0
