"""Row filter: decides for many rows at once, in one process or in several, which rows of a corpus are dropped."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from semalign_pl.data.cleaning.exact_leaks import Texts, hash_texts, letters
from semalign_pl.data.cleaning.hashes import HashSet, row_hashes
from semalign_pl.data.cleaning.leakage import Leak, LeakIndex
from semalign_pl.data.cleaning.preparation import Cleaner, Drop

Rows = list[tuple[str, dict[str, str]]]
HEAD = 10_000
"""Number of rows at the beginning of a corpus from which its median length ratio and common phrases are measured."""
_CHUNK = 2_000
_CHARACTERS = 32_000_000  # limit on the rows in memory: 10,000 rows of the longest texts allowed are 10 GB or more


@dataclass(frozen=True)
class MarkedRow:
    """Row in normal form, with the reason for which it is dropped.

    Attributes:
        id: Id of the row.
        row: Fields of the row in normal form.
        drop: Reason for dropping the row; ``None`` if it is kept.
        key: Hash of the row's letters, equal for duplicates; ``None`` if a filter drops the row, or if neither
            duplicates nor leaks are looked for.
        leak: Evaluation row that the row repeats, if it is dropped for that.
    """

    id: str
    row: dict[str, str]
    drop: Drop | None
    key: int | None
    leak: Leak | None = None


@dataclass(frozen=True)
class RowFilter:
    """Row filter of one corpus: normal form, filters and leak search, each decided from one row alone.

    Attributes:
        cleaner: Normal form and filters.
        fields: Names of the fields that are compared with earlier rows and with evaluation rows.
        leaks: Index of the evaluation rows; ``None`` if there are none.
    """

    cleaner: Cleaner
    fields: Sequence[str]
    leaks: LeakIndex | None

    @classmethod
    def of(
        cls, cleaner: Cleaner, fields: Sequence[str], head: Rows, evaluation: Iterable[tuple[str, Texts]] | None = None
    ) -> RowFilter:
        """Row filter of one corpus, with the corpus' median length ratio and common phrases.

        Args:
            cleaner: Normal form and filters.
            fields: Names of the fields that are compared.
            head: First `HEAD` rows of the corpus.
            evaluation: Id and texts of the rows that the corpus must not repeat, from ``evaluation_texts``.
        """
        normal = [cleaner.normal(row) for _, row in head]
        background = (tuple(row.get(name, "") for name in fields) for row in normal)
        leaks = None if evaluation is None else LeakIndex(evaluation, background, cleaner.forms)
        return cls(cleaner.measure_ratio(normal), fields, leaks)

    def __call__(self, rows: Rows) -> list[MarkedRow]:
        """Filter rows.

        Args:
            rows: Id and fields of each row.

        Returns:
            One result per row, in the same order; duplicates of earlier rows are not marked yet.
        """
        normal = [(id, self.cleaner.normal(row)) for id, row in rows]
        drops = [self.cleaner.drop_reason(row) for _, row in normal]
        if self.leaks is None and not self.cleaner.settings.duplicates:
            return [MarkedRow(id, row, drop, None) for (id, row), drop in zip(normal, drops, strict=True)]
        # Only rows that pass the filters are compared with other rows.
        passed = [i for i, drop in enumerate(drops) if drop is None]
        texts = [tuple(letters(normal[i][1].get(name, "")) for name in self.fields) for i in passed]
        hashes = hash_texts(texts)
        keys = dict(zip(passed, row_hashes(hashes[0]).tolist(), strict=True))
        found = self.leaks.find_letters(texts, hashes) if self.leaks else [None] * len(passed)
        leaks = {i: leak for i, leak in zip(passed, found, strict=True) if leak is not None}
        for i, leak in leaks.items():
            drops[i] = Drop("leak", f"{leak.kind} {leak.similarity:.2f} of {leak.id}")
        return [MarkedRow(id, row, drops[i], keys.get(i), leaks.get(i)) for i, (id, row) in enumerate(normal)]


def evaluation_texts(
    fields: Sequence[str], columns: Iterable[str], rows: Iterable[Mapping[str, str | None]]
) -> Iterator[tuple[str, Texts]]:
    """Yield id and texts of the rows of an evaluation corpus that a training corpus is compared with.

    Args:
        fields: Names of the fields of the training corpus that are compared.
        columns: Names of the fields of the evaluation corpus.
        rows: Rows of the evaluation corpus in normal form, each with its ``id``.
    """
    names = shared_fields(fields, columns)
    for row in rows:
        yield row["id"] or "", tuple(row[name] or "" for name in names)


def shared_fields(fields: Sequence[str], columns: Iterable[str]) -> list[str]:
    """Fields of an evaluation corpus that a training corpus is compared with.

    Args:
        fields: Names of the fields of the training corpus.
        columns: Names of the fields of the evaluation corpus.

    Returns:
        Names of the shared fields, in the order of ``fields``; all fields of the evaluation corpus if none is shared.
    """
    columns = list(columns)
    return [name for name in fields if name in columns] or columns


def mark_rows(
    row_filter: RowFilter, rows: Iterable[tuple[str, dict[str, str]]], workers: int = 0
) -> Iterator[tuple[Rows, list[MarkedRow]]]:
    """Mark every row of a corpus that is dropped: by a filter, as a leak, or as a duplicate of an earlier row.

    Preparation writes the rows that are not marked; ``semalign corpus`` counts the marks.

    Args:
        row_filter: Row filter of the corpus.
        rows: Id and fields of each row of the corpus.
        workers: Number of worker processes; 0 to filter in this process. The result does not depend on it.

    Yields:
        Chunks of rows: the rows as given, and the same rows in normal form with their marks.
    """
    duplicates, seen = row_filter.cleaner.settings.duplicates, HashSet()
    for chunk, marked in _filter_chunks(row_filter, _split(rows), workers):
        # A leak is dropped as a leak, but a later copy of it is a duplicate if it is not a leak itself.
        repeats = iter(seen.add(row.key for row in marked if row.key is not None) if duplicates else [])
        for place, row in enumerate(marked):
            if row.key is not None and next(repeats, False) and row.drop is None:
                marked[place] = replace(row, drop=Drop("duplicate", "says the same as an earlier row"))
        yield chunk, marked


def take(rows: Iterator[tuple[str, dict[str, str]]], most: int) -> Rows:
    """Take the next rows from an iterator, until they have more than `_CHARACTERS` characters.

    Args:
        rows: Id and fields of each row.
        most: Maximum number of rows.
    """
    taken, characters = [], 0
    for row in itertools.islice(rows, most):
        taken.append(row)
        characters += sum(map(len, row[1].values()))
        if characters > _CHARACTERS:
            break
    return taken


def _split(rows: Iterable[tuple[str, dict[str, str]]]) -> Iterator[Rows]:
    """Yield rows in chunks that are filtered at once."""
    rows = iter(rows)
    while chunk := take(rows, _CHUNK):
        yield chunk


_row_filter: RowFilter | None = None  # of a worker process


def _filter_chunks(
    row_filter: RowFilter, chunks: Iterable[Rows], workers: int
) -> Iterator[tuple[Rows, list[MarkedRow]]]:
    """Filter rows chunk by chunk, in order; about two chunks per worker are read ahead."""
    if workers == 0:
        yield from ((chunk, row_filter(chunk)) for chunk in chunks)
        return
    # Spawned, because a worker forked from a process with threads (torch's, the tokenizer's) could hang.
    with multiprocessing.get_context("spawn").Pool(workers, _set_filter, (row_filter,)) as pool:
        waiting = deque()
        for chunk in chunks:
            waiting.append((chunk, pool.apply_async(_filter_chunk, (chunk,))))
            if len(waiting) > 2 * workers:
                chunk, result = waiting.popleft()
                yield chunk, result.get()
        for chunk, result in waiting:
            yield chunk, result.get()


def _set_filter(row_filter: RowFilter) -> None:
    global _row_filter
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the first process ends the others
    _row_filter = row_filter


def _filter_chunk(rows: Rows) -> list[MarkedRow]:
    assert _row_filter is not None
    return _row_filter(rows)
