"""Log files and kept steps of a run: a resumed run continues the same ones."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from semalign_pl.files.atomic import write_text
from semalign_pl.run.completions import cut_completions
from semalign_pl.run.kept_steps import STEPS, cut_steps

METRICS = "metrics.csv"
BY_STEP = ("completions.jsonl", "reward_watch.jsonl")
"""Files of one JSON object per line, each with the optimiser ``step`` after which it was written."""


class _Writer(ExperimentWriter):
    """Writer that continues an existing file and takes over its columns."""

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                self.metrics_keys = sorted(next(csv.reader(file), []))


class RunLogger(CSVLogger):
    """``CSVLogger`` that continues an earlier ``metrics.csv`` of the folder, which Lightning's own would delete.

    Args:
        folder: Folder of the run, to write ``metrics.csv`` to.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=10)

    @property
    @rank_zero_experiment
    def experiment(self) -> ExperimentWriter:  # type: ignore[override]
        """Writer of ``metrics.csv``, made at the first log call."""
        if self._experiment is None:
            os.makedirs(self.root_dir, exist_ok=True)
            self._experiment = _Writer(log_dir=self.log_dir)
        return self._experiment  # type: ignore[return-value]


def cut_history(folder: Path, batches: int, steps: int, finished: bool) -> None:
    """Remove log rows and kept steps that an earlier attempt wrote after the checkpoint from which a run is resumed.

    Args:
        folder: Folder of the run.
        batches: Number of batches done at the checkpoint.
        steps: Number of optimiser steps done at the checkpoint.
        finished: True if the validation after the last batch and the end of its epoch were done at the checkpoint.
    """
    metrics = folder / METRICS
    if metrics.is_file():
        with metrics.open(newline="", encoding="utf-8") as file:
            whole = (line for line in file if line.endswith("\n"))  # without a last line that a kill cut off
            reader = csv.DictReader(whole)
            rows, columns = list(_until(reader, batches, finished)), reader.fieldnames or []
        write_text(metrics, "".join(_as_csv(rows, columns)))
    for name in BY_STEP:
        path = folder / name
        if path.is_file():
            with path.open(encoding="utf-8") as file:
                lines = [line for line in file if _step(line) <= steps]
            write_text(path, "".join(lines))
    cut_steps(folder / STEPS, steps)
    cut_completions(folder, batches)


def _until(rows: Iterator[Mapping[str, str]], batches: int, finished: bool) -> Iterator[Mapping[str, str]]:
    """Rows of the first batches. ``step`` counts batches from 0; a training row precedes the row of its validation."""
    done = False
    for row in rows:
        step = int(row["step"])
        if step >= batches or (done and step == batches - 1 and not finished):
            continue
        yield row
        done = step == batches - 1 and any(value for name, value in row.items() if name.startswith("train/"))


def _as_csv(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> Iterator[str]:
    class Lines(list[str]):
        write = list.append

    lines = Lines()
    writer = csv.DictWriter(lines, columns)
    writer.writeheader()
    writer.writerows(rows)
    return iter(lines)


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # the line that a kill cut off
        return float("inf")
