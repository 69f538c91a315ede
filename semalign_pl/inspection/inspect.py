"""All statistics of a list of files, as one dictionary: the source of the JSON file, the tables and the page."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from semalign_pl.data.cleaning.prepare import CorpusRequest
from semalign_pl.data.cleaning.row_filter import HEAD, RowFilter, mark_rows, take
from semalign_pl.data.progress import track_rows
from semalign_pl.inspection.column import count_repeats
from semalign_pl.inspection.columns import choose_columns
from semalign_pl.inspection.drops import DropCounts
from semalign_pl.inspection.leaks import LeakSearch, MeasuredFile, Split
from semalign_pl.inspection.lengths import Statistics, share
from semalign_pl.inspection.measure import Measure, largest_groups
from semalign_pl.inspection.rows import Account, pick, rows
from semalign_pl.inspection.tokens import TokenCounter

SAMPLES = 10
DUPLICATES = 5
"""Maximum number of groups of equal rows to show, and of row ids to name per group."""


def inspect(
    files: Sequence[CorpusRequest],
    tokens: TokenCounter | None,
    limits: Sequence[int],
    seed: int = 0,
    splits: Sequence[Split] | None = None,
) -> tuple[Statistics, list[MeasuredFile]]:
    """Statistics of a list of files.

    Args:
        files: Files to read, with their columns and languages; those that are not named are guessed.
        tokens: Tokenizer of the model; ``None`` to count no tokens.
        limits: Lengths in tokens; the share of longer texts is counted for each.
        seed: Seed of the random samples.
        splits: Split of each file; by default they are inferred from names and lengths.

    Returns:
        Dictionary of all statistics, and the counts per file, for the histograms.

    Raises:
        ValueError: If a file cannot be read or has no text.
    """
    names = short_names([file.source for file in files])
    measured, results = [], []
    for name, file in zip(names, files, strict=True):
        corpus, columns, left_out = choose_columns(file, tokens)
        measure, account = Measure(columns, SAMPLES, seed), Account()
        stream = track_rows(rows(corpus, account), f"counting {name}")
        head = take(stream, HEAD)
        row_filter = RowFilter.of(corpus.cleaner, corpus.request.fields, head)
        drops = DropCounts(corpus, row_filter, head)
        for chunk, marked in mark_rows(row_filter, itertools.chain(head, stream)):
            measure.add(chunk, marked)
            drops.add(chunk, marked)
        measured.append(MeasuredFile(corpus, measure, account, drops))
        results.append({"name": name, **_result(measured[-1], limits), "left_out": left_out, "doubt": doubt(left_out)})
    search = LeakSearch(measured, splits)
    for place, result in enumerate(results):
        prepared = search.preparation(place)
        result["prepare"] = {**prepared, "against": [names[i] for i in prepared["against"]]}
    return {
        "model": tokens.model if tokens else None,
        "limits": list(limits),
        "files": results,
        "leakage": [{**pair, "of": names[pair["of"]], "in": names[pair["in"]]} for pair in search.pairs()],
    }, measured


def short_names(sources: Sequence[str]) -> list[str]:
    """Shortest ends of the paths, in whole path components, that still tell all of them apart."""
    paths = [Path(source).parts for source in sources]
    for depth in range(1, max(map(len, paths), default=1) + 1):
        names = ["/".join(path[-depth:]) for path in paths]
        if len(set(names)) == len(set(sources)):
            return names
    return list(sources)


def doubt(names: Iterable[str]) -> str | None:
    """Warning if a column's name is a number, so that the header is probably a row of data; else ``None``."""
    number = next((name for name in names if name.isdecimal()), None)
    if number is None:
        return None
    return f"a column is called {number}: the first line was read as a header, and seems to be a row; give the file one"


def _result(file: MeasuredFile, limits: Sequence[int]) -> Statistics:
    measure, account = file.measure, file.account
    counts = account.counts
    passed = np.flatnonzero(measure.keys)
    keys = measure.keys[passed]
    groups = [(times, passed[places].tolist()) for times, places in largest_groups(keys, DUPLICATES, DUPLICATES)]
    examples = pick(file.corpus, [place for _, places in groups for place in places])
    return {
        "file": file.corpus.request.source,
        "lines": counts.lines,
        **{name: getattr(counts, name) for name in ("blank", "header", "continued", "skipped")},
        "read": account.read,
        "good": measure.rows,
        "empty": account.empty,
        "bad": {"rows": counts.bad, "reasons": dict(account.reasons.most_common()), "first": account.first},
        "columns": {field: column.result(limits) for field, column in measure.columns.items()},
        "duplicates": {
            "rows": (repeated := count_repeats(keys)),
            "share": share(repeated, measure.rows),
            "examples": [
                {"times": times, "ids": [examples[place][0] for place in places], "row": examples[places[0]][1]}
                for times, places in groups
            ],
        },
        "samples": [{"id": id, "row": row} for _, id, row in sorted(measure.sampled)],
    }
