"""Rows that two of the given files have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Any

from semalign_pl.data.leakage import Leak, LeakIndex
from semalign_pl.inspection.duplicates import as_array, first_places, shared
from semalign_pl.inspection.measure import Measure, share
from semalign_pl.inspection.rows import Corpus, batches, pick, rows

INDEXED_ROWS = 20_000
"""Near ones are looked for only where one file is no longer than this: its text is held meanwhile."""
BACKGROUND_ROWS = 10_000
EXAMPLES = 5


@dataclass(frozen=True)
class Counted:
    """A file and its counts."""

    corpus: Corpus
    measure: Measure


def leakage(files: Sequence[Counted], advance: Callable[[int], None] = lambda _: None) -> list[dict[str, Any]]:
    """What each pair of files has in common: which rows of the shorter one, the later of equals, the other has too.

    Args:
        files: In the user's order.
        advance: Told how many rows have been compared.

    Returns:
        A dictionary for each pair with a field in common, ``of`` and ``in`` counting from 0.
    """
    found = []
    for pair in combinations(range(len(files)), 2):
        b, a = sorted(pair, key=lambda i: (files[i].measure.rows, -i))
        if fields := [field for field in files[a].measure.columns if field in files[b].measure.columns]:
            found.append({"of": b, "in": a, "fields": fields, **_common(files[a], files[b], fields, advance)})
    return found


def _common(one: Counted, other: Counted, fields: Sequence[str], advance: Callable[[int], None]) -> dict[str, Any]:
    total = other.measure.rows
    places = {field: _places(one, other, field) for field in fields}
    whole = None
    if set(one.measure.columns) == set(other.measure.columns):
        equal = shared(as_array(other.measure.fingerprints), as_array(one.measure.fingerprints))
        whole = {"rows": len(equal), "share": share(len(equal), total)}
    exact = {place for at in places.values() for place in at}
    near = None
    if total <= INDEXED_ROWS:
        leaks = {at: leak for at, leak in _near(one, other, fields, advance).items() if at not in exact}
        near = {"rows": len(leaks), "share": share(len(leaks), total), "examples": _near_examples(one, other, leaks)}
    return {
        "rows": whole,
        "columns": {field: {"rows": len(at), "share": share(len(at), total)} for field, at in places.items()},
        "examples": _examples(one, other, places),
        "near": near,
    }


def _places(one: Counted, other: Counted, field: str) -> list[int]:
    mine, theirs = (as_array(x.measure.columns[field].fingerprints) for x in (one, other))
    return shared(theirs, mine).tolist()


def _examples(one: Counted, other: Counted, places: dict[str, list[int]]) -> list[dict[str, Any]]:
    """The first texts in common, and where each stands."""
    wanted = [(field, place) for field, at in places.items() for place in at[:EXAMPLES]][:EXAMPLES]
    first = []
    for field, place in wanted:
        mine, theirs = (as_array(x.measure.columns[field].fingerprints) for x in (one, other))
        first += first_places(mine, theirs[[place]].tolist())
    texts, there = pick(other.corpus, [place for _, place in wanted]), pick(one.corpus, first)
    return [
        {"field": field, "of": texts[place][0], "in": there[at][0], "text": texts[place][1][field]}
        for (field, place), at in zip(wanted, first, strict=True)
    ]


def _near(
    one: Counted, other: Counted, fields: Sequence[str], advance: Callable[[int], None]
) -> dict[int, tuple[int, Leak]]:
    """The other's rows that the first one repeats: by place, where it does so most and the leak."""

    def texts(row: dict[str, str]) -> tuple[str, ...]:
        return tuple(row[field] for field in fields)

    evaluation = ((str(place), texts(row)) for place, (_, row) in enumerate(rows(other.corpus)))
    background = [texts(row) for _, row in islice(rows(one.corpus), BACKGROUND_ROWS)]
    index, found, place = LeakIndex(evaluation, background), {}, 0
    for _, batch in batches(one.corpus, size=4096):
        for leak in index.find([texts(row) for row in batch]):
            if leak and (int(leak.id) not in found or leak.similarity > found[int(leak.id)][1].similarity):
                found[int(leak.id)] = (place, leak)
            place += 1
        advance(len(batch))
    return found


def _near_examples(one: Counted, other: Counted, leaks: dict[int, tuple[int, Leak]]) -> list[dict[str, Any]]:
    """The most similar ones."""
    closest = sorted(leaks.items(), key=lambda item: -item[1][1].similarity)[:EXAMPLES]
    texts, there = pick(other.corpus, [at for at, _ in closest]), pick(one.corpus, [at for _, (at, _) in closest])
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
