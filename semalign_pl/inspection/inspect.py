"""All numbers of some files, as one dictionary that JSON, table and page are made from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from semalign_pl.inspection.duplicates import as_array, largest_groups, repeats
from semalign_pl.inspection.guess import guess_language
from semalign_pl.inspection.leaks import Counted, leakage
from semalign_pl.inspection.measure import Column, Measure, share
from semalign_pl.inspection.rows import (
    Bad,
    Corpus,
    batches,
    check_columns,
    column_names,
    peek,
    pick,
    share_of_text,
    text_columns,
)
from semalign_pl.inspection.tokens import TokenCounter
from semalign_pl.languages import LanguageProfile

SAMPLES = 10
DUPLICATES = 5
"""Groups of equal rows shown, and places named of each."""
Advance = Callable[[str, int], None]


def inspect(
    files: Sequence[Corpus],
    languages: Mapping[str, LanguageProfile | None],
    tokens: TokenCounter | None,
    limits: Sequence[int],
    seed: int = 0,
    advance: Advance = lambda _, __: None,
) -> tuple[dict[str, Any], list[Counted]]:
    """Count some files.

    Args:
        files: Their columns are guessed where none are named.
        languages: Of fields; those of others are guessed.
        tokens: Of the model, if any.
        limits: In tokens.
        seed: Draws the samples.
        advance: Told what is being done and how many rows of it are new.

    Returns:
        The numbers and, for the histograms, the counts themselves.

    Raises:
        ValueError: If a file cannot be read or has no text.
    """
    names = short_names([file.source for file in files])
    counted, results = [], []
    for name, file in zip(names, files, strict=True):
        corpus, columns, left_out = _columns(file, languages, tokens)
        measure, bad = Measure(columns, SAMPLES, seed), Bad()
        for ids, rows in batches(corpus, bad):
            measure.add(ids, rows)
            advance(f"counting {name}", len(rows))
        counted.append(Counted(corpus, measure))
        results.append(
            {"name": name, **_result(counted[-1], bad, limits), "left_out": left_out, "doubt": doubt(left_out)}
        )
    leaks = leakage(counted, lambda rows: advance("comparing files", rows))
    return {
        "model": tokens.model if tokens else None,
        "limits": list(limits),
        "files": results,
        "leakage": [{**leak, "of": names[leak["of"]], "in": names[leak["in"]]} for leak in leaks],
    }, counted


def short_names(sources: Sequence[str]) -> list[str]:
    """The end of each path that tells it from the others."""
    parts = [Path(source).parts for source in sources]
    for depth in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(set(sources)):
            return names
    return list(sources)


def doubt(names: Iterable[str]) -> str | None:
    """What is odd about columns of these names: a header that is a row of text and numbers."""
    number = next((name for name in names if name.isdecimal()), None)
    if number is None:
        return None
    return f"a column is called {number}: the first line was read as a header, and seems to be a row; give the file one"


def _columns(
    file: Corpus, languages: Mapping[str, LanguageProfile | None], tokens: TokenCounter | None
) -> tuple[Corpus, dict[str, Column], dict[str, float]]:
    """What to read of a file, in which language each column is, and of the columns left out the share that is text."""
    records = peek(file)
    if file.columns:
        check_columns(file.source, records, [c for field, c in file.columns.items() if field not in file.optional])
        named = dict(file.columns)
    else:
        named = {name: name for name in text_columns(file.source, records)}
    columns = {}
    for field, column in named.items():
        texts = [text for record in records if isinstance(text := record.get(column), str)]
        language = languages[field] if field in languages else guess_language(column, texts)
        columns[field] = Column(column, language, tokens)
    others = {name: share_of_text(records, name) for name in column_names(records) if name not in named.values()}
    return replace(file, columns=named), columns, others


def _result(file: Counted, bad: Bad, limits: Sequence[int]) -> dict[str, Any]:
    measure, dropped = file.measure, sum(bad.reasons.values())
    prints = as_array(measure.fingerprints)
    groups = largest_groups(prints, DUPLICATES, DUPLICATES)
    shown = pick(file.corpus, [place for _, places in groups for place in places])
    return {
        "file": file.corpus.source,
        "read": measure.rows + dropped,
        "good": measure.rows,
        "bad": {"rows": dropped, "reasons": dict(bad.reasons.most_common()), "first": bad.first},
        "columns": {field: column.result(limits) for field, column in measure.columns.items()},
        "duplicates": {
            "rows": (repeated := repeats(prints)),
            "share": share(repeated, measure.rows),
            "examples": [
                {"times": times, "ids": [shown[place][0] for place in places], "row": shown[places[0]][1]}
                for times, places in groups
            ],
        },
        "samples": [{"id": id, "row": row} for _, id, row in sorted(measure.sampled)],
    }
