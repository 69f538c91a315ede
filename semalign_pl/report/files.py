"""A study's folder: predictions and training logs, with or without a folder a seed."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SAMPLES = 20


@dataclass(frozen=True)
class Sample:
    """One test row and what each system made of it: ``answers`` holds (prediction, semantic similarity) by system."""

    id: str
    prompt: str
    reference: str
    answers: dict[str, tuple[str, float | None]]


def find(folder: Path, system: str, name: str) -> dict[str, Path]:
    """The file ``name`` of a system by seed, seeds in numeric order; a run without seeds is under ``""``."""
    seeds = sorted((seed for seed in folder.glob("seed-*")), key=lambda path: (len(path.name), path.name))
    found = {seed.name: path for seed in seeds if (path := seed / system / name).is_file()}
    plain = folder / system / name
    return found or ({"": plain} if plain.is_file() else {})


def read_logs(folder: Path, system: str) -> dict[str, list[dict[str, str | None]]]:
    """The rows of ``metrics.csv`` by seed."""
    logs = {}
    for seed, path in find(folder, system, "metrics.csv").items():
        with path.open(encoding="utf-8", newline="") as lines:
            logs[seed] = list(csv.DictReader(lines))
    return logs


def read_samples(folder: Path, systems: Sequence[str], count: int = SAMPLES) -> list[Sample]:
    """Evenly spaced test rows that every system with predictions has, in the order of the first system's file.

    Nobody chooses them. With several seeds the first seed speaks.
    """
    paths = {system: next(iter(find(folder, system, "predictions.jsonl").values()), None) for system in systems}
    tables = {system: _read_predictions(path) for system, path in paths.items() if path is not None}
    if not tables:
        return []
    first = next(iter(tables.values()))
    shared = [key for key in first if all(key in table for table in tables.values())]
    return [
        Sample(
            id=key,
            prompt=str(first[key].get("prompt", "")),
            reference=str(first[key].get("reference", "")),
            answers={system: _answer(table[key]) for system, table in tables.items()},
        )
        for key in evenly_spaced(shared, count)
    ]


def evenly_spaced(items: Sequence[str], count: int) -> list[str]:
    """``count`` of the items, the first and the last among them; all if there are fewer."""
    if len(items) <= count:
        return list(items)
    if count < 2:
        return list(items[:count])
    return [items[i * (len(items) - 1) // (count - 1)] for i in range(count)]


def _answer(row: Mapping[str, Any]) -> tuple[str, float | None]:
    """A row's prediction and its semantic similarity, if it was scored."""
    similarity = (row.get("scores") or {}).get("semantic_similarity")
    return str(row.get("prediction", "")), similarity if isinstance(similarity, int | float) else None


def _read_predictions(path: Path) -> dict[str, dict[str, Any]]:
    """Rows by id."""
    rows: dict[str, dict[str, Any]] = {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                rows.setdefault(str(row["id"]), row)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(
                    f'{path}:{number}: every line must be a JSON object with "id" and "prediction" ({error!r}). '
                    "Evaluate this system again, or delete the file to leave its samples out."
                ) from error
    return rows
