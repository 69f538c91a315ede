"""Read predictions and training logs from a study's folder, with or without a folder per seed."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLES = 20


@dataclass(frozen=True)
class Sample:
    """One test row and each system's prediction.

    Attributes:
        id: Id of the row.
        prompt: Prompt of the row.
        reference: Reference of the row.
        answers: Prediction and semantic similarity by system; the similarity is ``None`` if it was not scored.
    """

    id: str
    prompt: str
    reference: str
    answers: dict[str, tuple[str, float | None]]


def find(folder: Path, system: str, name: str) -> dict[str, Path]:
    """Paths of a system's files of one name, by seed in numeric order.

    Args:
        folder: Folder of the study.
        system: Name of the system.
        name: Name of the file.

    Returns:
        Path by name of the seed's folder; by ``""`` for a study without seeds; empty if there is no such file.
    """
    seeds = sorted((seed for seed in folder.glob("seed-*")), key=lambda path: (len(path.name), path.name))
    found = {seed.name: path for seed in seeds if (path := seed / system / name).is_file()}
    plain = folder / system / name
    return found or ({"": plain} if plain.is_file() else {})


def read_logs(folder: Path, system: str) -> dict[str, list[dict[str, str | None]]]:
    """Rows of a system's ``metrics.csv`` by seed."""
    logs = {}
    for seed, path in find(folder, system, "metrics.csv").items():
        with path.open(encoding="utf-8", newline="") as lines:
            logs[seed] = list(csv.DictReader(lines))
    return logs


def read_samples(folder: Path, systems: Sequence[str], count: int = SAMPLES) -> list[Sample]:
    """Evenly spaced test rows, of those that every system with predictions has, in the order of the first system.

    Even spacing avoids hand-picked samples. With several seeds, the predictions are those of the first.

    Args:
        folder: Folder of the study.
        systems: Names of the systems.
        count: Maximum number of rows.

    Raises:
        ValueError: If a predictions file is malformed; the message names file and line.
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
    """Evenly spaced ``count`` of the items, including the first and the last; all if there are fewer."""
    if len(items) <= count:
        return list(items)
    if count < 2:
        return list(items[:count])
    return [items[i * (len(items) - 1) // (count - 1)] for i in range(count)]


def _answer(row: Mapping[str, object]) -> tuple[str, float | None]:
    """Prediction of a row and its semantic similarity, ``None`` if it was not scored."""
    scores = row.get("scores")
    similarity = scores.get("semantic_similarity") if isinstance(scores, Mapping) else None
    return str(row.get("prediction", "")), similarity if isinstance(similarity, int | float) else None


def _read_predictions(path: Path) -> dict[str, dict[str, object]]:
    """Rows of a predictions file by id; of rows with the same id, the first."""
    rows: dict[str, dict[str, object]] = {}
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
