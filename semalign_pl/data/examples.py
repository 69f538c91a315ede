"""Prepared corpora as one sequence of examples, each made when it is accessed."""

from __future__ import annotations

import dataclasses
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, overload

from semalign_pl.data.storing.table import Table
from semalign_pl.data.tasks import Task
from semalign_pl.types import Example

_OURS = ("id", "prompt_ids", "completion_ids")


class Examples(Sequence[Example]):
    """Examples of one or several corpora, one corpus after the other; rows are read from disk when accessed.

    Args:
        corpora: Table and task of each corpus.
        chosen: Rows to use, as ascending indices counted through all corpora; all rows if left out.

    Attributes:
        sizes: Number of rows used of each corpus.
        seconds: Time spent on reading batches, in seconds.
    """

    def __init__(self, corpora: Sequence[tuple[Table, Task]], chosen: Sequence[int] | None = None) -> None:
        self._corpora = list(corpora)
        self._ends = list(accumulate(len(table) for table, _ in corpora))
        self._chosen = range(self._ends[-1]) if chosen is None else chosen
        places = [bisect_right(self._chosen, end - 1) for end in self._ends]
        self.seconds = 0.0
        self.sizes = [stop - start for start, stop in zip([0, *places], places, strict=False)]

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns that the corpora have."""
        firsts = (_example(table[0], task) for table, task in self._corpora if len(table))
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
        return _example(table[row - (self._ends[corpus - 1] if corpus else 0)], task)

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
        for table, task in self._corpora:  # iterating a table reads each record batch of its file once
            yield from (_example(row, task) for row in table)


def _example(row: dict[str, Any], task: Task) -> Example:
    fields = {name: value for name, value in row.items() if name not in _OURS and value is not None}
    example = task.example(fields, row["id"])
    if "prompt_ids" not in row:
        return example
    return dataclasses.replace(example, prompt_ids=row["prompt_ids"], completion_ids=row["completion_ids"])
