"""Row filter: normal form, filters and leak search for many rows at once, in one process or in several."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from semalign_pl.data.cleaning.hashes import hash64, row_hashes
from semalign_pl.data.cleaning.leakage import Leak, LeakIndex, Texts, letters
from semalign_pl.data.cleaning.preparation import Cleaner

Rows = list[tuple[str, dict[str, str]]]
HEAD = 10_000
"""Number of rows at the beginning of a corpus from which its median length ratio and common phrases are measured."""
_CHUNK = 2_000
_CHARACTERS = 32_000_000  # limit on the rows in memory: 10,000 rows of the longest texts allowed are 10 GB or more


@dataclass(frozen=True)
class Judged:
    """Filter result of one row, from the row alone: duplicates of earlier rows are found later.

    Attributes:
        id: Id of the row.
        row: Fields of the row in normal form.
        verdict: Reason and measure for dropping the row; ``None`` if it passes.
        key: Hash of the row's letters, equal for duplicates; ``None`` if a filter drops the row, or if neither
            duplicates nor leaks are looked for.
        leak: Evaluation row that the row repeats, if it is dropped for that.
    """

    id: str
    row: dict[str, str]
    verdict: tuple[str, str] | None
    key: int | None
    leak: Leak | None = None


@dataclass(frozen=True)
class Judge:
    """Row filter of one corpus: normal form, filters and leak search.

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
    ) -> Judge:
        """Row filter of one corpus, with the corpus' median length ratio and common phrases.

        Args:
            cleaner: Normal form and filters.
            fields: Names of the fields that are compared.
            head: First `HEAD` rows of the corpus.
            evaluation: Id and texts of the rows that the corpus must not repeat (fields of `shared_fields`).
        """
        normal = [cleaner.normal(row) for _, row in head]
        background = (tuple(row.get(name, "") for name in fields) for row in normal)
        leaks = None if evaluation is None else LeakIndex(evaluation, background)
        return cls(cleaner.measured(normal), fields, leaks)

    def __call__(self, rows: Rows) -> list[Judged]:
        """Filter rows.

        Args:
            rows: Id and fields of each row.

        Returns:
            One result per row, in the same order.
        """
        normal = [(id, self.cleaner.normal(row)) for id, row in rows]
        verdicts = [self.cleaner.verdict(row) for _, row in normal]
        good = [i for i, verdict in enumerate(verdicts) if verdict is None]
        if self.leaks is None and not self.cleaner.settings.duplicates:
            return [Judged(id, row, verdicts[i], None) for i, (id, row) in enumerate(normal)]
        # Only rows that pass the filters are compared with other rows.
        texts = [tuple(letters(normal[i][1].get(name, "")) for name in self.fields) for i in good]
        hashes = np.array([[hash64(text) for text in row] for row in texts], np.uint64).reshape(-1, len(self.fields))
        keys = dict(zip(good, row_hashes(hashes).tolist(), strict=True))
        leaks = dict(zip(good, self.leaks.find_letters(texts) if self.leaks else [], strict=False))
        for i, leak in leaks.items():
            if leak is not None:
                verdicts[i] = ("leak", f"{leak.kind} {leak.similarity:.2f} of {leak.id}")
        return [Judged(id, row, verdicts[i], keys.get(i), leaks.get(i)) for i, (id, row) in enumerate(normal)]


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


def chunks(rows: Iterable[tuple[str, dict[str, str]]]) -> Iterator[Rows]:
    """Split rows into chunks that are filtered at once.

    Args:
        rows: Id and fields of each row.
    """
    rows = iter(rows)
    while chunk := take(rows, _CHUNK):
        yield chunk


_judge: Judge | None = None


def judged(judge: Judge, chunks: Iterable[Rows], workers: int) -> Iterator[list[Judged]]:
    """Filter rows chunk by chunk, in order.

    Args:
        judge: Row filter; each worker process gets a copy.
        chunks: Chunks of rows; about two per worker are read ahead.
        workers: Number of worker processes; 0 to filter in this process.
    """
    if workers == 0:
        yield from map(judge, chunks)
        return
    # Spawned, because a worker forked from a process with threads (torch's, the tokenizer's) could hang.
    with multiprocessing.get_context("spawn").Pool(workers, _appoint, (judge,)) as pool:
        waiting = deque()
        for chunk in chunks:
            waiting.append(pool.apply_async(_work, (chunk,)))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().get()
        while waiting:
            yield waiting.popleft().get()


def _appoint(judge: Judge) -> None:
    global _judge
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all; the first process ends the others
    _judge = judge


def _work(rows: Rows) -> list[Judged]:
    assert _judge is not None
    return _judge(rows)
