"""Read the rows of a corpus to count: find its text columns, yield the rows that have text, account for every line."""

from __future__ import annotations

import difflib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import regex

from semalign_pl.data.cleaning.preparation import Cleaner, Preparation
from semalign_pl.data.cleaning.prepare import Request
from semalign_pl.data.conversation import TURNS
from semalign_pl.data.reading.formats import BadRow, Counts, find_source_files, top_column
from semalign_pl.data.reading.sources import stream

PEEKED = 1000
"""Number of good records from which text columns and their languages are guessed."""
LOOKED_AT = 10_000
"""Maximum number of records, good or bad, to read in search of ``PEEKED`` good ones."""
FILLED = 0.9
"""Minimum share of those records in which a text column holds text."""
REASONS = 20
"""Maximum number of distinct reasons for bad rows; further ones are counted as ``other``."""
SHOWN = 5
"""Number of bad rows whose message is kept."""

_TEXT = regex.compile(r"[\p{L}--\p{ASCII}]|\p{L}+\s+\p{L}", regex.V1)
_DETAIL = regex.compile(r" \(|: |; | but | in '| of \d")
_LETTER = regex.compile(r"\p{L}")


@dataclass(frozen=True)
class Corpus:
    """A file to count.

    Attributes:
        request: File, columns and preparation settings.
        guessed: True if the columns were guessed; then rows with an empty cell are counted as empty, not as bad.
    """

    request: Request
    guessed: bool = False

    @property
    def cleaner(self) -> Cleaner:
        """Normal form and filters of the recipe's ``prepare``, or its defaults; always with a search of duplicates."""
        settings = replace(self.request.prepare or Preparation(), duplicates=True)
        return Cleaner.of(settings, self.request.languages, self.request.pair)


@dataclass
class Account:
    """Counts of a file's lines by kind, and of bad rows by reason.

    Attributes:
        counts: Lines by kind; rows with an empty cell in a guessed column count as good here.
        empty: Number of rows with an empty cell in a guessed column.
        reasons: Number of bad rows by reason.
        first: Full error messages of the first bad rows.
    """

    counts: Counts = field(default_factory=Counts)
    empty: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)

    def add(self, row: BadRow) -> None:
        """Count a bad row."""
        _, _, fault = row.message.partition(f":{row.number}: ")
        reason = _DETAIL.split(fault or row.message)[0]
        self.reasons[reason if reason in self.reasons or len(self.reasons) < REASONS else "other"] += 1
        if len(self.first) < SHOWN:
            self.first.append(row.message)


def peek(request: Request) -> list[Mapping[str, Any]]:
    """First good records of a file, with all their columns.

    Args:
        request: File to read.

    Raises:
        ValueError: If the file cannot be read or has no good record.
    """
    records: list[Mapping[str, Any]] = []
    fault = None
    try:
        for record in itertools.islice(_records(request), LOOKED_AT):
            if isinstance(record, BadRow):
                fault = fault or record.message
            else:
                records.append(record)
                if len(records) == PEEKED:
                    break
    except OSError as error:
        raise ValueError(f"{request.source}: cannot be read ({error.strerror}); check its path") from error
    if not records:
        none = f"{request.source}: no rows in it; check that it was written to the end, or give another file"
        raise ValueError(fault or none)
    return records


def _records(request: Request) -> Iterator[Mapping[str, Any] | BadRow]:
    for source_file in find_source_files(request.source, request.split, request.quoting):
        # Without named columns, a plain text file calls its only column "text". Other formats are asked for a column
        # that no file has, which makes them read all; asked for "text", Parquet would leave out the others.
        for _, record in source_file.read(set(request.columns.values()) or ({"text"} if source_file.plain else {"\0"})):
            yield record


def column_names(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns of the records, in order of first occurrence."""
    return list(dict.fromkeys(name for record in records for name in record))


def text_columns(source: str, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Columns that hold text, in the file's order.

    Columns of numbers, codes or one-word Latin labels are left out, and columns that are mostly blank. If no column
    is left, columns of single Latin words count as text.

    Args:
        source: Name of the file, for the message.
        records: First good records.

    Raises:
        ValueError: If no column holds text.
    """
    names = column_names(records)
    for pattern in (_TEXT, _LETTER):
        chosen = [name for name in names if name in records[0] and share_of_text(records, name, pattern) >= FILLED]
        if chosen:
            return chosen
    raise ValueError(f"{source}: no column holds text (they are {', '.join(names)}); name one with --columns")


def share_of_text(records: Sequence[Mapping[str, Any]], name: str, pattern: regex.Pattern[str] = _TEXT) -> float:
    """Share of the records in which a column is a non-blank string; 0 unless most of those match ``pattern``.

    Args:
        records: First good records.
        name: Name of the column.
        pattern: Pattern that occurs in text, but not in codes and labels.
    """
    values = [record.get(name) for record in records]
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    telling = sum(pattern.search(text) is not None for text in texts)
    return len(texts) / len(values) if 2 * telling > len(texts) else 0.0


def check_columns(source: str, records: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> None:
    """Check that every column occurs in the records.

    Args:
        source: Name of the file, for the message.
        records: First good records.
        columns: Columns that must occur.

    Raises:
        ValueError: If a column occurs in no record; the message lists the columns that do.
    """
    names = column_names(records)
    for column in columns:
        if top_column(names, column) is None:
            near = difflib.get_close_matches(column, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"--columns: {source} has no column {column!r}; its columns are {', '.join(names)}{hint}")


def rows(corpus: Corpus, account: Account | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield id and texts (by field) of each good row.

    Args:
        corpus: File to read.
        account: Counts to update with every line; ``None`` to discard them.
    """
    request, account = corpus.request, account or Account()
    optional = request.columns if corpus.guessed else request.optional
    named = (request.source, request.columns, request.split, request.where, optional, request.quoting)
    fields = fields_of(request)
    for id, row in stream(*named, counts=account.counts, chat=request.chat):
        if isinstance(row, BadRow):
            account.add(row)
        elif corpus.guessed and len(row) < len(request.columns):
            account.empty += 1
        else:
            yield id, {name: row.get(name, "") for name in fields}


def fields_of(request: Request) -> list[str]:
    """Fields of a row: its columns; for a conversation, prompt, completion and the other columns that are read."""
    if request.chat is None:
        return list(request.columns)
    beside = (name for name in request.columns if name not in request.optional)
    return [*(name for name in request.chat.columns if name != TURNS), *beside]


def pick(corpus: Corpus, places: Iterable[int]) -> dict[int, tuple[str, dict[str, str]]]:
    """Good rows at given indices, by index; reads the file again.

    Args:
        corpus: File to read.
        places: 0-based indices among the good rows.

    Returns:
        Id and texts of each row, by index.
    """
    wanted = set(places)
    if not wanted:
        return {}
    upto = itertools.islice(enumerate(rows(corpus)), max(wanted) + 1)
    return {place: row for place, row in upto if place in wanted}
