"""All statistics of a list of files, as one dictionary: the source of the JSON file, the tables and the page."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from semalign_pl.data.cleaning.prepare import Request
from semalign_pl.data.cleaning.row_filter import HEAD, Judge, chunks, take
from semalign_pl.data.conversation import Conversation, holds_turns
from semalign_pl.data.progress import counted
from semalign_pl.inspection.duplicates import largest_groups, repeats
from semalign_pl.inspection.guess import guess_language
from semalign_pl.inspection.leaks import Counted, leakage
from semalign_pl.inspection.measure import Column, Measure, share
from semalign_pl.inspection.rows import (
    PEEKED,
    Account,
    Corpus,
    check_columns,
    column_names,
    fields_of,
    peek,
    pick,
    rows,
    share_of_text,
    text_columns,
)
from semalign_pl.inspection.tokens import TokenCounter
from semalign_pl.languages import get_language

SAMPLES = 10
DUPLICATES = 5
"""Maximum number of groups of equal rows to show, and of row ids to name per group."""


def inspect(
    files: Sequence[Request], tokens: TokenCounter | None, limits: Sequence[int], seed: int = 0
) -> tuple[dict[str, Any], list[Counted]]:
    """Statistics of a list of files.

    Args:
        files: Files to read, with their columns and languages; those that are not named are guessed.
        tokens: Tokenizer of the model; ``None`` to count no tokens.
        limits: Lengths in tokens; the share of longer texts is counted for each.
        seed: Seed of the random samples.

    Returns:
        Dictionary of all statistics, and the counts per file, for the histograms.

    Raises:
        ValueError: If a file cannot be read or has no text.
    """
    names = short_names([file.source for file in files])
    measured, results = [], []
    for name, file in zip(names, files, strict=True):
        corpus, columns, left_out = _columns(file, tokens)
        measure, account = Measure(columns, SAMPLES, seed), Account()
        stream = counted(rows(corpus, account), f"counting {name}")
        head = take(stream, HEAD)
        judge = Judge.of(corpus.cleaner, corpus.request.fields, head)
        for chunk in chunks(itertools.chain(head, stream)):
            measure.add(chunk, judge(chunk))
        measured.append(Counted(corpus, measure))
        results.append(
            {"name": name, **_result(measured[-1], account, limits), "left_out": left_out, "doubt": doubt(left_out)}
        )
    return {
        "model": tokens.model if tokens else None,
        "limits": list(limits),
        "files": results,
        "leakage": [{**leak, "of": names[leak["of"]], "in": names[leak["in"]]} for leak in leakage(measured)],
    }, measured


def short_names(sources: Sequence[str]) -> list[str]:
    """Shortest ends of the paths, in whole path components, that still tell all of them apart."""
    parts = [Path(source).parts for source in sources]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(set(sources)):
            return names
    return list(sources)


def doubt(names: Iterable[str]) -> str | None:
    """Warning if a column's name is a number, so that the header is probably a row of data; else ``None``."""
    number = next((name for name in names if name.isdecimal()), None)
    if number is None:
        return None
    return f"a column is called {number}: the first line was read as a header, and seems to be a row; give the file one"


def _columns(file: Request, tokens: TokenCounter | None) -> tuple[Corpus, dict[str, Column], dict[str, float]]:
    """Corpus of a file, columns to count by field, and the share of text in each column left out."""
    records = peek(file)
    if not file.columns and holds_turns(records[0]):
        task = Conversation()
        wanted, chat = task.columns_to_read("test", {}), task.chat("test")
        file = replace(file, columns=wanted, optional=task.optional, fields=task.fields, chat=chat)
    guessed = not file.columns
    if not guessed:
        check_columns(file.source, records, [c for field, c in file.columns.items() if field not in file.optional])
    named = dict(file.columns) or {name: name for name in text_columns(file.source, records)}
    others = {name: share_of_text(records, name) for name in column_names(records) if name not in named.values()}
    if file.chat or not set(named.values()) <= set(column_names(records)):  # records do not hold the texts yet
        named = {field: named.get(field, field) for field in fields_of(file)}
        records = [
            {named[field]: text for field, text in row.items()}
            for _, row in itertools.islice(rows(Corpus(file)), PEEKED)
        ]
    columns, languages = {}, {}
    for field, column in named.items():
        texts = [text for record in records if isinstance(text := record.get(column), str)]
        code = file.languages.get(field)
        language = get_language(code) if code else guess_language(column, texts)
        columns[field] = Column(column, language, tokens)
        if language:
            languages[field] = code or language.code
    if file.fields:  # the file is a recipe's: the task sets the fields to compare and their languages
        fields = tuple(field for field in file.fields if field in named)
        return Corpus(replace(file, fields=fields)), columns, others
    # Two columns in two languages are a translation corpus; its preparation also compares their lengths.
    pair = (*named,) if len(named) == 2 and len({*languages.values()}) == 2 else None
    made = replace(file, columns=named, fields=tuple(named), languages=languages, pair=pair)
    return Corpus(made, guessed), columns, others


def _result(file: Counted, account: Account, limits: Sequence[int]) -> dict[str, Any]:
    measure, counts = file.measure, account.counts
    judged = np.flatnonzero(measure.keys)
    keys = measure.keys[judged]
    groups = [(times, judged[places].tolist()) for times, places in largest_groups(keys, DUPLICATES, DUPLICATES)]
    shown = pick(file.corpus, [place for _, places in groups for place in places])
    return {
        "file": file.corpus.request.source,
        "lines": counts.lines,
        **{name: getattr(counts, name) for name in ("blank", "header", "continued", "skipped")},
        "read": counts.good + counts.bad,
        "good": measure.rows,
        "empty": account.empty,
        "bad": {"rows": counts.bad, "reasons": dict(account.reasons.most_common()), "first": account.first},
        "columns": {field: column.result(limits) for field, column in measure.columns.items()},
        "duplicates": {
            "rows": (repeated := repeats(keys)),
            "share": share(repeated, measure.rows),
            "examples": [
                {"times": times, "ids": [shown[place][0] for place in places], "row": shown[places[0]][1]}
                for times, places in groups
            ],
        },
        "samples": [{"id": id, "row": row} for _, id, row in sorted(measure.sampled)],
    }
