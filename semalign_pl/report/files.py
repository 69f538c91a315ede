"""Read predictions and training logs from a study's folder, with or without a folder per seed."""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Sequence
from pathlib import Path

from .curves import REWARD, SIDES
from .measured_curves import END

PredictionTable = dict[str, dict[str, object]]
"""Rows of a predictions file by id."""


def find(folder: Path, system: str, name: str, seeds: Collection[int] | None = None) -> dict[str, Path]:
    """Paths of a system's files of one name, by seed in numeric order.

    Args:
        folder: Folder of the study.
        system: Name of the system.
        name: Name of the file.
        seeds: Seeds of the study, as the folder may have others of an earlier, larger study; ``None`` for all.

    Returns:
        Path by name of the seed's folder; by ``""`` for a study without seeds; empty if there is no such file.
    """
    wanted = None if seeds is None else {f"seed-{seed}" for seed in seeds}
    roots = sorted(folder.glob("seed-*"), key=lambda path: (len(path.name), path.name))
    roots = [root for root in roots if wanted is None or root.name in wanted]
    found = {root.name: path for root in roots if (path := root / system / name).is_file()}
    plain = folder / system / name
    return found or ({"": plain} if plain.is_file() else {})


def find_point(
    folder: Path, system: str, point: str, name: str, seeds: Collection[int] | None = None
) -> dict[str, Path]:
    """Paths of a point's files of one name, as `find` returns those of a system."""
    return find(folder, system, name if point == END else f"points/{point}/{name}", seeds)


def read_logs(
    folder: Path, system: str, seeds: Collection[int] | None = None
) -> dict[str, list[dict[str, str | None]]]:
    """Rows of a system's ``metrics.csv`` by seed; arguments as in `find`.

    Raises:
        ValueError: If a file is no CSV, or a cell of a drawn column is no number; the message names file and line.
    """
    return {seed: _read_log(path) for seed, path in find(folder, system, "metrics.csv", seeds).items()}


def _read_log(path: Path) -> list[dict[str, str | None]]:
    rows: list[dict[str, str | None]] = []
    with path.open(encoding="utf-8", newline="") as lines:
        reader = csv.DictReader(lines)
        try:
            for row in reader:
                for name, text in row.items():
                    if text and (name or "").startswith(("step", REWARD, *SIDES)):
                        float(text.strip() or 0)
                rows.append(row)
        except (csv.Error, ValueError) as error:
            raise ValueError(
                f"{path}:{reader.line_num}: is no log of numbers ({error}). Train this system again, or delete the "
                "file to leave its curves out."
            ) from error
    return rows


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
