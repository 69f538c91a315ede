"""Verdicts on many rows at once, in this process or in several."""

from __future__ import annotations

import itertools
import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from semalign_pl.data.hashes import hash64, row_hashes
from semalign_pl.data.leakage import Leak, LeakIndex, Texts, letters
from semalign_pl.data.preparation import Cleaner

Rows = list[tuple[str, dict[str, str]]]
HEAD = 10_000
"""Rows at the beginning of a corpus that tell what is usual in it."""
_CHUNK = 2_000
_CHARACTERS = 32_000_000  # of the rows held at a time: 10,000 rows of the longest texts allowed would be 10 GB and more


@dataclass(frozen=True)
class Judged:
    """A row in normal form, and what is known of it but for the rows before it.

    Attributes:
        id: The row's.
        row: Its fields in normal form.
        verdict: Reason and measure if it is dropped.
        key: A hash of its letters, by which duplicates are known; ``None`` if a filter drops it.
        leak: The evaluation row that it repeats, if it is dropped for that.
    """

    id: str
    row: dict[str, str]
    verdict: tuple[str, str] | None
    key: int | None
    leak: Leak | None = None


@dataclass(frozen=True)
class Judge:
    """Normal form, filters and leaks.

    Attributes:
        cleaner: Normal form and filters.
        fields: Those that are compared, with earlier rows and with evaluation rows.
        leaks: Evaluation rows, if there are any.
    """

    cleaner: Cleaner
    fields: Sequence[str]
    leaks: LeakIndex | None

    @classmethod
    def of(
        cls, cleaner: Cleaner, fields: Sequence[str], head: Rows, evaluation: Iterable[tuple[str, Texts]] | None = None
    ) -> Judge:
        """A judge of one corpus, which knows what is usual in it.

        Args:
            cleaner: Normal form and filters.
            fields: Those that are compared.
            head: The first `HEAD` rows of the corpus.
            evaluation: Id and texts of the rows that it must not repeat, see `shared_fields`.
        """
        normal = [cleaner.normal(row) for _, row in head]
        background = (tuple(row.get(name, "") for name in fields) for row in normal)
        leaks = None if evaluation is None else LeakIndex(evaluation, background)
        return cls(cleaner.measured(normal), fields, leaks)

    def __call__(self, rows: Rows) -> list[Judged]:
        """Judges rows, in their order."""
        normal = [(id, self.cleaner.normal(row)) for id, row in rows]
        verdicts = [self.cleaner.verdict(row) for _, row in normal]
        good = [i for i, verdict in enumerate(verdicts) if verdict is None]
        if self.leaks is None and not self.cleaner.settings.duplicates:
            return [Judged(id, row, verdicts[i], None) for i, (id, row) in enumerate(normal)]
        texts = [tuple(letters(normal[i][1].get(name, "")) for name in self.fields) for i in good]
        hashes = np.array([[hash64(text) for text in row] for row in texts], np.uint64).reshape(-1, len(self.fields))
        keys = dict(zip(good, row_hashes(hashes).tolist(), strict=True))
        leaks = dict(zip(good, self.leaks.find_letters(texts) if self.leaks else [], strict=False))
        for i, leak in leaks.items():
            if leak is not None:
                verdicts[i] = ("leak", f"{leak.kind} {leak.similarity:.2f} of {leak.id}")
        return [Judged(id, row, verdicts[i], keys.get(i), leaks.get(i)) for i, (id, row) in enumerate(normal)]


def shared_fields(fields: Sequence[str], columns: Iterable[str]) -> list[str]:
    """The fields of an evaluation corpus that a training corpus is compared with.

    Args:
        fields: Those of the training corpus.
        columns: Those of the evaluation corpus.

    Returns:
        The ones they share, in the order of ``fields``; all of the evaluation's, if they share none.
    """
    columns = list(columns)
    return [name for name in fields if name in columns] or columns


def take(rows: Iterator[tuple[str, dict[str, str]]], most: int) -> Rows:
    """The next rows: so many, or as many as have `_CHARACTERS` characters."""
    taken, characters = [], 0
    for row in itertools.islice(rows, most):
        taken.append(row)
        characters += sum(map(len, row[1].values()))
        if characters > _CHARACTERS:
            break
    return taken


def chunks(rows: Iterable[tuple[str, dict[str, str]]]) -> Iterator[Rows]:
    """Rows in chunks that are judged at once."""
    rows = iter(rows)
    while chunk := take(rows, _CHUNK):
        yield chunk


_judge: Judge | None = None


def judged(judge: Judge, chunks: Iterable[Rows], workers: int) -> Iterator[list[Judged]]:
    """Judges chunk by chunk, in order.

    Args:
        judge: The judge; each process gets one.
        chunks: Rows; not more than two a worker are read ahead.
        workers: Processes; 0 for this one alone.
    """
    if workers == 0:
        yield from map(judge, chunks)
        return
    # Forked from a process with threads (torch's, the tokenizer's) a worker could hang.
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
