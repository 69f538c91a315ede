"""Rows that two files have in common, by the same definitions by which preparation drops leaked rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semalign_pl.data.cleaning.hashes import row_hashes
from semalign_pl.data.cleaning.leakage import Leak
from semalign_pl.data.cleaning.row_filter import HEAD, Judge, chunks, shared_fields, take
from semalign_pl.data.progress import counted
from semalign_pl.inspection.measure import Measure, share
from semalign_pl.inspection.rows import Corpus, pick, rows

INDEXED_ROWS = 20_000
"""Maximum number of rows of the evaluation file for which near-duplicates are searched: its text is kept in memory."""
EXAMPLES = 5

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Counted:
    """A file and its counts.

    Attributes:
        corpus: File that was counted.
        measure: Counts of the file.
    """

    corpus: Corpus
    measure: Measure


def leakage(files: Sequence[Counted]) -> list[dict[str, Any]]:
    """Rows in common of each pair of files, one of which counts as training file and the other as evaluation file.

    Args:
        files: Files in the user's order. The training file of a pair is the one that a recipe trains on, else the
            longer one, else the first.

    Returns:
        Dictionary per pair. ``of`` and ``in`` are the 0-based indices of the evaluation and of the training file.
    """
    found = []
    for pair in itertools.combinations(range(len(files)), 2):
        b, a = sorted(pair, key=lambda i: (files[i].corpus.request.filters, files[i].measure.rows, -i))
        fields = shared_fields(files[a].corpus.request.fields, files[b].measure.columns)
        found.append({"of": b, "in": a, "fields": fields, **_common(files[a], files[b], fields)})
    return found


def _common(train: Counted, other: Counted, fields: Sequence[str]) -> dict[str, Any]:
    total, ours = other.measure.rows, list(train.corpus.request.fields)
    used = train.measure.keys != 0  # a row that a filter drops is not trained on, so it leaks nothing
    held, there = _texts(other, fields), _texts(train, ours)
    whole, whole_there = np.zeros(total, bool), np.zeros(len(used), bool)
    if comparable := ours == list(fields):
        rows_held, rows_there = row_hashes(held.hashes), row_hashes(there.hashes)
        whole = np.isin(rows_held, rows_there[used])
        whole_there = np.isin(rows_there, rows_held)
    same = held.long & np.isin(held.hashes, there.hashes[there.long & used[:, None]])
    columns = {field: same[:, i] | whole for i, field in enumerate(fields)}
    exact = same.any(1) | whole
    dropped = used & (whole_there | (there.long & np.isin(there.hashes, held.hashes[held.long])).any(1))
    near, leaking = None, int(dropped.sum())
    if total <= INDEXED_ROWS:
        leaks = _leaks(train, other, fields)
        leaking = len(leaks)
        best: dict[int, tuple[int, Leak]] = {}
        for place, leak in leaks:
            at = int(leak.id)
            if not exact[at] and (at not in best or leak.similarity > best[at][1].similarity):
                best[at] = (place, leak)
        near = {**_amount(len(best), total), "examples": _near_examples(train, other, best)}
    return {
        "rows": _amount(int(whole.sum()), total) if comparable else None,
        "columns": {field: _amount(int(mask.sum()), total) for field, mask in columns.items()},
        "examples": _examples(train, other, columns),
        "near": near,
        "dropped": _amount(leaking, train.measure.rows),
    }


def _amount(rows: int, total: int) -> dict[str, Any]:
    return {"rows": rows, "share": share(rows, total)}


@dataclass(frozen=True)
class _Texts:
    """Hashes of texts, and a mask of texts long enough to be a leak on their own; both ``(rows, fields)``."""

    hashes: NDArray[np.uint64]
    long: Mask


def _texts(file: Counted, fields: Sequence[str]) -> _Texts:
    columns = [file.measure.columns[field] for field in fields]
    return _Texts(np.stack([c.hashes for c in columns], 1), np.stack([c.long for c in columns], 1))


def _examples(train: Counted, other: Counted, columns: dict[str, Mask]) -> list[dict[str, Any]]:
    """First texts in common, with the ids of the evaluation row and of the first training row that has the text."""
    wanted = [(field, int(at)) for field, mask in columns.items() for at in np.flatnonzero(mask)[:EXAMPLES]][:EXAMPLES]
    first, used = [], train.measure.keys != 0
    for field, place in wanted:
        text = other.measure.columns[field].hashes[place]
        places = [
            np.flatnonzero(used & (train.measure.columns[name].hashes == text)) for name in train.corpus.request.fields
        ]
        first.append(int(min(at[0] for at in places if len(at))))
    texts, there = pick(other.corpus, [place for _, place in wanted]), pick(train.corpus, first)
    return [
        {"field": field, "of": texts[place][0], "in": there[at][0], "text": texts[place][1][field]}
        for (field, place), at in zip(wanted, first, strict=True)
    ]


def _leaks(train: Counted, other: Counted, fields: Sequence[str]) -> list[tuple[int, Leak]]:
    """Index and leak of each training row that preparation drops; a leak's id is the evaluation row's index."""
    normal = other.corpus.cleaner.normal
    evaluation = (
        (str(place), tuple(row[field] for field in fields))
        for place, row in enumerate(normal(row) for _, row in rows(other.corpus))
    )
    stream = counted(rows(train.corpus), "comparing files")
    head = take(stream, HEAD)
    judge = Judge.of(train.corpus.cleaner, train.corpus.request.fields, head, evaluation)
    judged = itertools.chain.from_iterable(map(judge, chunks(itertools.chain(head, stream))))
    return [(place, row.leak) for place, row in enumerate(judged) if row.leak is not None]


def _near_examples(train: Counted, other: Counted, leaks: dict[int, tuple[int, Leak]]) -> list[dict[str, Any]]:
    """Near-duplicates with the highest similarity; ``leaks`` maps an evaluation row to a training row and its leak."""
    closest = sorted(leaks.items(), key=lambda item: -item[1][1].similarity)[:EXAMPLES]
    texts, there = pick(other.corpus, [at for at, _ in closest]), pick(train.corpus, [at for _, (at, _) in closest])
    return [
        {
            "of": texts[place][0],
            "in": there[at][0],
            "similarity": leak.similarity,
            "of_row": texts[place][1],
            "in_row": there[at][1],
        }
        for place, (at, leak) in closest
    ]
