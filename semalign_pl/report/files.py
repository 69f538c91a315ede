"""Read predictions and training logs from a study's folder, with or without a folder per seed."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

from semalign_pl.files.documents import read_json

from .json_values import get_object
from .results import REMEDY

PredictionTable = dict[str, dict[str, object]]
"""Rows of a predictions file by id."""


def find(folder: Path, system: str, name: str) -> dict[str, Path]:
    """Paths of a system's files of one name, by seed in numeric order.

    Seeds that the study's ``results.json`` does not list are left out: they are of an earlier run with more seeds.

    Args:
        folder: Folder of the study.
        system: Name of the system.
        name: Name of the file.

    Returns:
        Path by name of the seed's folder; by ``""`` for a study without seeds; empty if there is no such file.
    """
    seeds = sorted((seed for seed in folder.glob("seed-*")), key=lambda path: (len(path.name), path.name))
    listed = _listed_seeds(folder / "results.json")
    seeds = [seed for seed in seeds if listed is None or seed.name in listed]
    found = {seed.name: path for seed in seeds if (path := seed / system / name).is_file()}
    plain = folder / system / name
    return found or ({"": plain} if plain.is_file() else {})


def _listed_seeds(file: Path) -> set[str] | None:
    """Names of the seeds' folders that results list; ``None`` if they list none."""
    seeds = get_object(read_json(file, f"{REMEDY}."), "run").get("seeds") if file.is_file() else None
    return {f"seed-{seed}" for seed in seeds} if isinstance(seeds, list) else None


def read_logs(folder: Path, system: str) -> dict[str, list[dict[str, str | None]]]:
    """Rows of a system's ``metrics.csv`` by seed."""
    logs = {}
    for seed, path in find(folder, system, "metrics.csv").items():
        with path.open(encoding="utf-8", newline="") as lines:
            logs[seed] = list(csv.DictReader(lines))
    return logs


def evenly_spaced(items: Sequence[str], count: int) -> list[str]:
    """Evenly spaced ``count`` of the items, including the first and the last; all if there are fewer."""
    if len(items) <= count:
        return list(items)
    if count < 2:
        return list(items[:count])
    return [items[i * (len(items) - 1) // (count - 1)] for i in range(count)]


def read_predictions(path: Path) -> PredictionTable:
    """Read a predictions file; of rows with the same id, the first.

    Raises:
        ValueError: If a line is malformed; the message names file and line.
    """
    rows: PredictionTable = {}
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
