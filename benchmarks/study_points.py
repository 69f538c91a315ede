"""Read the points and the budgets of a study's runs: values of metrics, examples, updates, sampled tokens, seconds."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml


def value(folder: Path, metric: str) -> float:
    """Value of a metric in the ``results.json`` of a folder."""
    return float(_metrics(folder)[metric]["value"])


def has_value(folder: Path, metric: str) -> bool:
    """True if the ``results.json`` of a folder has a metric."""
    return metric in _metrics(folder)


def _metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))["metrics"]


def points(run: Path) -> dict[str, Path]:
    """Folders of the points of a run by name: its end and its scales."""
    return {"end": run, **{path.name: path for path in sorted((run / "points").glob("*")) if path.is_dir()}}


def loss(base: Mapping[str, float], tested: Mapping[str, float], metric: str) -> float:
    """Loss of general ability against the base model; a change of NLL is one itself."""
    from semalign_pl.functional.cost import less_is_better

    return tested[metric] if less_is_better(metric) else base[metric] - tested[metric]


def budget(run: Path) -> dict[str, float]:
    """Budget that a training used: updates, examples (prompts of all epochs), sampled tokens and seconds."""
    recipe: dict[str, Any] = yaml.safe_load((run / "fit.yaml").read_text(encoding="utf-8"))
    model, data = (recipe[key]["init_args"] for key in ("model", "data"))
    updates = json.loads((run / "adapter" / "training.json").read_text(encoding="utf-8"))["steps"]
    examples = updates * data["batch_size"]
    samples = model.get("num_generations", 0) * examples
    seconds = json.loads((run / "fit.done.json").read_text(encoding="utf-8"))["seconds"]
    return {
        "updates": updates,
        "examples": examples,
        "sampled_tokens": round(samples * mean_of(run / "metrics.csv", "train/completion_tokens")),
        "seconds": round(seconds, 1),
    }


def mean_of(file: Path, column: str) -> float:
    """Mean of a column of ``metrics.csv`` over its rows with a value."""
    with file.open(encoding="utf-8") as rows:
        values = [float(row[column]) for row in csv.DictReader(rows) if row.get(column)]
    return sum(values) / len(values)
