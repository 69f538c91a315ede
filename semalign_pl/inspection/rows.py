"""Rows of a corpus as they are counted: its columns of text, the rows that have it, and what became of every line."""

from __future__ import annotations

import difflib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import regex

from semalign_pl.data.conversation import TURNS
from semalign_pl.data.formats import BadRow, Counts, parts, top_column
from semalign_pl.data.preparation import Cleaner, Preparation
from semalign_pl.data.prepare import Request
from semalign_pl.data.sources import stream

PEEKED = 1000
"""Good records looked at to tell which columns hold text and in what language."""
LOOKED_AT = 10_000
"""Records, good or bad, to find them among."""
FILLED = 0.9
"""Of them so many must hold text."""
REASONS = 20
"""Kinds of bad rows told apart."""
SHOWN = 5
"""Bad rows whose message is kept."""

_TEXT = regex.compile(r"[\p{L}--\p{ASCII}]|\p{L}+\s+\p{L}", regex.V1)
_DETAIL = regex.compile(r" \(|: |; | but | in '| of \d")
_LETTER = regex.compile(r"\p{L}")


@dataclass(frozen=True)
class Corpus:
    """A file as it is counted.

    Attributes:
        request: What to read of it, and how it would be prepared.
        guessed: Nobody named its columns, so that a row need not fill all of them.
    """

    request: Request
    guessed: bool = False

    @property
    def cleaner(self) -> Cleaner:
        """Normal form and filters of ``prepare: {}``, or of the recipe's own settings."""
        settings = replace(self.request.prepare or Preparation(), duplicates=True)
        return Cleaner.of(settings, self.request.languages, self.request.pair)


@dataclass
class Account:
    """Counts of a file's lines by what became of them. Rows with an empty cell in a guessed column are ``empty``.

    Attributes:
        counts: Lines by what they are, where rows with an empty cell are among the good.
        empty: How many those are.
        reasons: Bad rows by reason.
        first: What is wrong with the first of them, in full.
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
    """The first good records, with all their columns.

    Raises:
        ValueError: If there are none.
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
    for part in parts(request.source, request.split, request.quoting):
        # A plain text file calls its one column as one wants it; a Parquet file would leave out all others.
        for _, record in part.read(set(request.columns.values()) or ({"text"} if part.plain else {"\0"})):
            yield record


def column_names(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of some records, in order."""
    return list(dict.fromkeys(name for record in records for name in record))


def text_columns(source: str, records: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns that hold text, in the file's order: no numbers, codes, labels of one Latin word, or mostly blank.

    A file of single Latin words has no other text, so there those count.

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
    """Share of the records in which a column holds text; 0 where most of what it holds is something else."""
    values = [record.get(name) for record in records]
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    telling = sum(pattern.search(text) is not None for text in texts)
    return len(texts) / len(values) if 2 * telling > len(texts) else 0.0


def check_columns(source: str, records: Sequence[Mapping[str, Any]], columns: Iterable[str]) -> None:
    """Refuse a column that no record has.

    Raises:
        ValueError: Names the columns that there are.
    """
    names = column_names(records)
    for column in columns:
        if top_column(names, column) is None:
            near = difflib.get_close_matches(column, names, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ValueError(f"--columns: {source} has no column {column!r}; its columns are {', '.join(names)}{hint}")


def rows(corpus: Corpus, account: Account | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """Id and texts of each good row; the others are counted.

    Args:
        corpus: What to read.
        account: Where to count.
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
    """The texts of a row: its columns; of a conversation the prompt, the completion and what is read beside them."""
    if request.chat is None:
        return list(request.columns)
    beside = (name for name in request.columns if name not in request.optional)
    return [*(name for name in request.chat.columns if name != TURNS), *beside]


def pick(corpus: Corpus, places: Iterable[int]) -> dict[int, tuple[str, dict[str, str]]]:
    """The good rows at some places among the good ones.

    Args:
        corpus: What to read, again.
        places: 0-based.
    """
    wanted = set(places)
    if not wanted:
        return {}
    upto = itertools.islice(enumerate(rows(corpus)), max(wanted) + 1)
    return {place: row for place, row in upto if place in wanted}
