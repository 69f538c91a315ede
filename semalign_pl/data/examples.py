"""Prepared corpora as one sequence of examples, each read when it is accessed."""

from __future__ import annotations

import json
import time
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import accumulate
from typing import Any, overload

import numpy as np
import pyarrow as pa

from semalign_pl.data.corpora import Label
from semalign_pl.data.order import subset
from semalign_pl.data.storing.cache import Prepared
from semalign_pl.data.storing.table import Table
from semalign_pl.data.tasks import Task
from semalign_pl.types import Example, Turn

UNUSED = "unused.npy"
"""Name of the file of a tokenised corpus that lists the indices of the rows that are not used."""
LISTS = {"prompt_ids": pa.list_(pa.int32()), "completion_ids": pa.list_(pa.int32())}
"""Arrow types of the columns of a tokenised corpus that are not text."""
_TOKENISED = {"id", "example", *LISTS}


class Examples(Sequence[Example]):
    """Examples of one or several corpora, one corpus after the other; rows are read from disk when accessed.

    Args:
        corpora: Table and task of each corpus. A tokenised table has its examples; of other rows the task makes them.
        chosen: Rows to use, as ascending indices counted through all corpora; all rows if left out.
        labels: Label of each corpus, which its examples get; none if left out.

    Attributes:
        sizes: Number of rows used of each corpus.
        seconds: Time spent on reading batches, in seconds.
    """

    def __init__(
        self,
        corpora: Sequence[tuple[Table, Task]],
        chosen: Sequence[int] | None = None,
        labels: Sequence[Label] | None = None,
    ) -> None:
        self._corpora = list(corpora)
        self._labels = list(labels or [Label()] * len(self._corpora))
        self._ends = list(accumulate(len(table) for table, _ in corpora))
        self._chosen = range(self._ends[-1]) if chosen is None else chosen
        places = [bisect_right(self._chosen, end - 1) for end in self._ends]
        self.seconds = 0.0
        self.sizes = [stop - start for start, stop in zip([0, *places], places, strict=False)]

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns that the corpora have."""
        firsts = (_read_example(table[0], task) for table, task in self._corpora if len(table))
        return frozenset(name for example in firsts for name in example.columns)

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self._chosen[index]
        corpus = bisect_right(self._ends, row)
        table, task = self._corpora[corpus]
        return _label(_read_example(table[row - (self._ends[corpus - 1] if corpus else 0)], task), self._labels[corpus])

    @property
    def rewarded(self) -> Examples:
        """Examples of the corpora that are not replayed; these examples themselves if there is no other."""
        if not any(label.replay for label in self._labels):
            return self
        starts = [0, *self._ends]
        chosen = array("q")
        for label, start, stop in zip(self._labels, starts, self._ends, strict=False):
            if not label.replay:
                chosen.extend(self._chosen[bisect_left(self._chosen, start) : bisect_left(self._chosen, stop)])
        return Examples(self._corpora, chosen, self._labels)

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """Examples of one batch; PyTorch's fetcher calls this instead of one ``__getitem__`` per row."""
        begun = time.perf_counter()
        batch = [self[index] for index in indices]
        self.seconds += time.perf_counter() - begun
        return batch

    def __iter__(self) -> Iterator[Example]:
        if len(self) < self._ends[-1]:
            yield from (self[i] for i in range(len(self)))
            return
        # Iterating a table reads each record batch of its file once.
        for (table, task), label in zip(self._corpora, self._labels, strict=True):
            yield from (_label(_read_example(row, task), label) for row in table)


def make_example(row: Mapping[str, Any], task: Task) -> Example:
    """Example of a prepared row.

    Args:
        row: Row of a prepared corpus: ``id`` and the fields, of which missing ones are ``None``.
        task: Task of the row.
    """
    return task.example({name: value for name, value in row.items() if name != "id" and value is not None}, row["id"])


def pack_example(example: Example) -> str:
    """JSON of an example without token ids, so that the task makes it once, when the corpus is tokenised.

    Args:
        example: Example to store.
    """
    turns = [[turn.role, turn.content] for turn in example.turns]
    texts = [example.id, example.prompt, example.reference, dict(example.columns), example.source, turns]
    raw = [] if example.text_bytes is None else [example.text_bytes]
    return json.dumps([*texts, *raw], ensure_ascii=False)


def _read_example(row: Mapping[str, Any], task: Task) -> Example:
    if row.keys() != _TOKENISED:
        return make_example(row, task)
    id, prompt, reference, columns, source, turns, *raw = json.loads(row["example"])
    turns = tuple(Turn(role, content) for role, content in turns)
    tokens = (row["prompt_ids"], row["completion_ids"])
    return Example(id, prompt, reference, columns, source, *tokens, turns, text_bytes=raw[0] if raw else None)


def _label(example: Example, label: Label) -> Example:
    return example if label == Label() else replace(example, **asdict(label))


def choose_rows(prepared: Sequence[Prepared], seed: int, skip: int, limit: int | None) -> Sequence[int]:
    """Choose rows by seed among all prepared rows, then remove those that tokenising dropped.

    So a seed draws the same rows with any limits on lengths.

    Args:
        prepared: Prepared corpora.
        seed: Seed of the choice.
        skip: Number of rows to leave out.
        limit: Maximum number of rows; ``None`` for all.

    Returns:
        Ascending indices counted through all corpora.

    Raises:
        ValueError: If no row is left.
    """
    sizes = [len(corpus.table) for corpus in prepared]
    rows = subset(sum(sizes), seed, skip, limit)
    offsets = np.cumsum([0, *sizes])[:-1]
    dropped = [
        offset + np.load(corpus.folder / UNUSED, allow_pickle=False)
        for offset, corpus in zip(offsets, prepared, strict=True)
        if corpus.unused
    ]
    if not dropped:
        return rows
    left = np.setdiff1d(np.asarray(rows, np.int64), np.concatenate(dropped), assume_unique=True)
    if not len(left):
        raise ValueError("data.init_args.limit: all rows that it draws are too long; raise it, or the model's limits")
    return array("q", left.tolist())
