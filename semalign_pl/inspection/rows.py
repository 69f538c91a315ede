"""Rows of a corpus to count: those that have text, and an account of all other lines."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import regex

from semalign_pl.data.cleaning.preparation import Cleaner, Preparation
from semalign_pl.data.cleaning.prepare import CorpusRequest
from semalign_pl.data.conversation import TURNS
from semalign_pl.data.reading.formats import BadRow, Counts

REASONS = 20
"""Maximum number of distinct reasons for bad rows; further ones are counted as ``other``."""
SHOWN = 5
"""Number of bad rows whose message is kept."""

_DETAIL = regex.compile(r" \(|: |; | but | in '| of \d")


@dataclass(frozen=True)
class Corpus:
    """A file to count.

    Attributes:
        request: File, columns and preparation settings.
        guessed: True if the columns were guessed; then rows with an empty cell are counted as empty, not as bad.
    """

    request: CorpusRequest
    guessed: bool = False

    @property
    def settings(self) -> Preparation:
        """Settings of the recipe's ``prepare``, or the defaults."""
        return self.request.prepare or Preparation()

    @property
    def cleaner(self) -> Cleaner:
        """Normal form and filters by the settings; always with a search of duplicates."""
        settings = replace(self.settings, duplicates=True)
        return Cleaner.of(settings, self.request.languages, self.request.pair)


@dataclass
class Account:
    """Counts of a file's lines by kind, and of bad rows by reason.

    Attributes:
        counts: Lines by kind; rows with an empty cell in a guessed column count as good here.
        empty: Number of rows with an empty cell in a guessed column.
        reasons: Number of bad rows by reason.
        first: Full error messages of the first bad rows.
        example: Id, fault and text of the first row that preparation cannot use; ``None`` if there is none.
    """

    counts: Counts = field(default_factory=Counts)
    empty: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)
    example: tuple[str, str, str] | None = None

    @property
    def read(self) -> int:
        """Number of rows read."""
        return self.counts.good + self.counts.bad

    @property
    def unusable(self) -> int:
        """Number of rows that preparation cannot use: they are bad, or would be if their column were named."""
        return self.counts.bad + self.empty

    def add(self, id: str, row: BadRow) -> None:
        """Count a bad row."""
        self.example = self.example or (id, row.message, row.raw)
        _, _, fault = row.message.partition(f":{row.number}: ")
        reason = _DETAIL.split(fault or row.message)[0]
        self.reasons[reason if reason in self.reasons or len(self.reasons) < REASONS else "other"] += 1
        if len(self.first) < SHOWN:
            self.first.append(row.message)


def rows(corpus: Corpus, account: Account | None = None) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield id and texts (by field) of each good row.

    Args:
        corpus: File to read.
        account: Counts to update with every line; ``None`` to discard them.
    """
    account = account or Account()
    request = corpus.request
    if corpus.guessed:
        request = replace(request, optional=frozenset(request.columns))
    fields = fields_of(corpus.request)
    for id, row in request.stream(account.counts):
        if isinstance(row, BadRow):
            account.add(id, row)
        elif corpus.guessed and len(row) < len(request.columns):
            account.empty += 1
            empty = ", ".join(name for name in request.columns if name not in row)
            account.example = account.example or (id, f"no text in {empty}", "")
        else:
            yield id, {name: row.get(name, "") for name in fields}


def fields_of(request: CorpusRequest) -> list[str]:
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
