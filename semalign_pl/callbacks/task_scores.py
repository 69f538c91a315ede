"""Test rows of several tasks: which rows have a score in common, and the names of the scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from lightning.pytorch import Trainer

from semalign_pl.callbacks.scored_rows import TEST_SET, ScoredRow, TaskKey
from semalign_pl.functional.formulas import value
from semalign_pl.metrics.base import RowMetric


@dataclass(frozen=True)
class ScoreNames:
    """Names of the scores and of the set of items of each group of rows.

    Rows in the language of the callback have the plain names, as long as they are of one task. Each other task has
    scores of its own, so that no score mixes two.

    Attributes:
        prefixes: Beginning of the names of each group's scores; empty for the plain names.
    """

    prefixes: Mapping[TaskKey, str]

    @classmethod
    def of(cls, keys: Iterable[TaskKey]) -> ScoreNames:
        """Choose the names.

        Args:
            keys: Keys of all rows.
        """
        keys = list(dict.fromkeys(keys))
        plain = [key for key in keys if not key.language]
        prefixes = dict.fromkeys(plain, "") if len(plain) == 1 else {}
        for key in keys:
            several = len({other.language for other in keys if other.task == key.task}) > 1
            name = "_".join(filter(None, (key.task, key.language if several or not key.task else "")))
            prefixes.setdefault(key, f"{name}_" if name else "")
        return cls(prefixes)

    def item_set(self, key: TaskKey) -> str:
        """Name of the set of items of a group."""
        prefix = self.prefixes[key].removesuffix("_")
        return f"{TEST_SET}/{prefix}" if prefix else TEST_SET


@dataclass
class TaskSums:
    """Sums of the statistics of validated rows, by task and metric, for one value per task without keeping rows.

    Attributes:
        rows: Number of rows of each task.
        sums: Sum of the statistics, by task and name of the metric.
    """

    rows: dict[TaskKey, int] = field(default_factory=dict)
    sums: dict[tuple[TaskKey, str], torch.Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Sequence[ScoredRow]) -> TaskSums:
        """Add up the rows of this rank."""
        found = cls()
        for row in rows:
            found.rows[row.key] = found.rows.get(row.key, 0) + 1
            for name, statistics in row.statistics.items():
                added = torch.tensor(statistics, dtype=torch.float64)
                found.sums[row.key, name] = found.sums.get((row.key, name), torch.zeros_like(added)) + added
        return found

    def over_ranks(self, trainer: Trainer) -> TaskSums:
        """Sums of all ranks, the same on each."""
        if trainer.world_size == 1:
            return self
        every = [TaskSums()] * trainer.world_size
        torch.distributed.all_gather_object(every, self)
        total = TaskSums()
        for one in every:
            for key, count in one.rows.items():
                total.rows[key] = total.rows.get(key, 0) + count
            for key, sums in one.sums.items():
                total.sums[key] = total.sums.get(key, torch.zeros_like(sums)) + sums
        return total

    def values(self, metrics: Mapping[str, RowMetric]) -> dict[str, float]:
        """Value of each metric on each task that has no plain names, by name of the score.

        Args:
            metrics: Metrics by name, whose formulas give the values.
        """
        names = ScoreNames.of(self.rows)
        return {
            f"{names.prefixes[key]}{name}": float(value(formula, sums.numpy(), self.rows[key]))
            for (key, name), sums in self.sums.items()
            if names.prefixes[key] and (formula := metrics[name].formula) is not None
        }
