"""Rows of a test corpus with predictions and statistics: lines of ``predictions.jsonl``, and items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TypedDict

import torch
from lightning.pytorch import Trainer

from semalign_pl.files.atomic import write_text
from semalign_pl.files.json_text import to_json
from semalign_pl.run.items import unique_ids
from semalign_pl.types import Example, Item

TEST_SET = "test"
"""Name of the set of items of a test corpus."""


class PredictionRow(TypedDict):
    """Row of ``predictions.jsonl``.

    Attributes:
        id: Source of the row, such as ``test.jsonl:17``; unique in the file.
        prompt: User's message.
        reference: Wanted completion; empty if the corpus has none.
        prediction: Completion of the policy.
        scores: Values of the metrics on this row alone, by name; empty under ``predict``.
    """

    id: str
    prompt: str
    reference: str
    prediction: str
    scores: dict[str, float]


@dataclass(frozen=True)
class TaskKey:
    """Key of the rows that have scores in common.

    Attributes:
        task: Name of the task; empty in a split whose corpora have one task.
        language: Code of the language that scores the rows; empty for that of the callback.
    """

    task: str = ""
    language: str = ""


@dataclass(frozen=True)
class ScoredRow:
    """Row of a test corpus.

    Attributes:
        line: Line of ``predictions.jsonl``.
        statistics: Sufficient statistics by metric.
        key: Task and language of the row.
    """

    line: PredictionRow
    statistics: dict[str, list[float]] = field(default_factory=dict)
    key: TaskKey = TaskKey()


def unscored_rows(examples: Sequence[Example], predictions: Sequence[str]) -> list[ScoredRow]:
    """Rows without scores and statistics.

    Args:
        examples: Examples of a batch.
        predictions: Completions of the policy, one per example.
    """
    return [
        ScoredRow(
            {
                "id": example.id,
                "prompt": example.prompt,
                "reference": example.reference,
                "prediction": prediction,
                "scores": {},
            }
        )
        for example, prediction in zip(examples, predictions, strict=True)
    ]


def gather(rows: list[ScoredRow], trainer: Trainer) -> list[ScoredRow]:
    """Rows of all ranks, with unique ids.

    They are taken from the ranks in turn: this is the file order, unless rows that are not scored were left out.

    Args:
        rows: Rows of this rank. Rank r of n has rows r, r + n and so on, without those that are not scored.
        trainer: Trainer of the run.
    """
    if trainer.world_size > 1:
        shards: list[list[ScoredRow]] = [[] for _ in range(trainer.world_size)]
        torch.distributed.all_gather_object(shards, rows)
        rows = [row for turn in zip_longest(*shards) for row in turn if row is not None]
    for row, name in zip(rows, unique_ids(row.line["id"] for row in rows), strict=True):
        row.line["id"] = name
    return rows


def items_of(rows: Sequence[ScoredRow], names: Mapping[str, str], item_set: str = TEST_SET) -> list[Item]:
    """Items of the rows, with their statistics of some metrics.

    Args:
        rows: Rows of all ranks.
        names: Name of the score by metric.
        item_set: Name of the set of items.
    """
    return [
        Item(
            item_set,
            row.line["id"],
            {names[metric]: values for metric, values in row.statistics.items() if metric in names},
            row.line["prediction"],
        )
        for row in rows
    ]


def write_predictions(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write one JSON object per line.

    Args:
        path: Path of the file; an existing file is overwritten.
        rows: Objects to write.
    """
    write_text(path, "".join(to_json(row, path) + "\n" for row in rows))
