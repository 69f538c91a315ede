"""Verdicts on many rows at once, in this process or in several."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from semalign_pl.data.hashes import hash64
from semalign_pl.data.leakage import LeakIndex, letters
from semalign_pl.data.preparation import Cleaner

Rows = list[tuple[str, dict[str, str]]]


@dataclass(frozen=True)
class Judged:
    """A row in normal form, and what is known of it but for the rows before it.

    Attributes:
        id: The row's.
        row: Its fields in normal form.
        verdict: Reason and measure if it is dropped.
        key: A hash of its letters, by which duplicates are known; ``None`` if it is dropped by itself.
    """

    id: str
    row: dict[str, str]
    verdict: tuple[str, str] | None
    key: int | None


@dataclass(frozen=True)
class Judge:
    """Normal form, filters and leaks.

    Attributes:
        cleaner: Normal form and filters.
        fields: Those that are compared with evaluation rows.
        leaks: Evaluation rows, if there are any.
    """

    cleaner: Cleaner
    fields: Sequence[str]
    leaks: LeakIndex | None

    def __call__(self, rows: Rows) -> list[Judged]:
        """Judges rows, in their order."""
        normal = [(id, self.cleaner.normal(row)) for id, row in rows]
        verdicts = [self.cleaner.verdict(row) for _, row in normal]
        good = [i for i, verdict in enumerate(verdicts) if verdict is None]
        if self.leaks is None and not self.cleaner.settings.duplicates:
            return [Judged(id, row, verdicts[i], None) for i, (id, row) in enumerate(normal)]
        keys = [tuple(letters(normal[i][1].get(name, "")) for name in self.fields) for i in good]
        hashes = dict(zip(good, (hash64("\0".join(key)) for key in keys), strict=True))
        for i, leak in zip(good, self.leaks.find_letters(keys) if self.leaks else [], strict=False):
            if leak is not None:
                verdicts[i] = ("leak", f"{leak.kind} {leak.similarity:.2f} of {leak.id}")
        return [Judged(id, row, verdicts[i], hashes.get(i)) for i, (id, row) in enumerate(normal)]


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
    _judge = judge


def _work(rows: Rows) -> list[Judged]:
    assert _judge is not None
    return _judge(rows)
