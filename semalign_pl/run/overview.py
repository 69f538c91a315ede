"""State of the runs below a folder, read without their weights and without torch."""

from __future__ import annotations

import csv
import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from semalign_pl.files.documents import read_yaml
from semalign_pl.run.finished import ADAPTER, ENCODER, RECIPE, RESULTS, is_test_of, read_object

_OWN = ("adapter", "encoder", "best", "checkpoints", "completions", "corpus", "points", "steps", "logs")
"""Subfolders of a run or study that hold no runs."""
_SIGNS = (RECIPE, "metrics.csv", "test.yaml")
"""Files by which the folder of a run is recognised."""


@dataclass(frozen=True)
class RunState:
    """A run as its folder shows it.

    Attributes:
        path: Folder of the run.
        state: ``training``, ``interrupted``, ``finished`` or ``tested``; ``damaged`` if a file cannot be read.
        stage: Class of the module, without ``Module``, such as ``SFT``; empty if the recipe does not say.
        step: Number of optimiser steps done; ``None`` if no training is in the folder.
        steps: Number of steps that the recipe asks for; ``None`` if it asks for epochs.
        scores: Scores of the test by name; empty if there was none, or if it was not of the trained weights themselves.
        changed: Time of the last change, in seconds since 1970.
        fault: Reason why a file cannot be read, with the file and the remedy; empty if all can.
    """

    path: Path
    state: str
    stage: str
    step: int | None
    steps: int | None
    scores: Mapping[str, float]
    changed: float
    fault: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Run as a JSON object, with the time as ISO 8601 in UTC."""
        when = datetime.fromtimestamp(self.changed, timezone.utc).isoformat(timespec="seconds")
        return {**vars(self), "path": str(self.path), "scores": dict(self.scores), "changed": when}


def find_runs(folder: Path) -> Iterator[RunState]:
    """Yield the runs in a folder and its subfolders, sorted by path.

    Args:
        folder: Folder to look in, which may be a run itself.

    Raises:
        ValueError: If there is no such folder.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; give the folder that holds the runs, such as runs")
    for place, below, files in os.walk(folder):
        below[:] = sorted(name for name in below if name not in _OWN and not name.startswith("."))
        if not set(_SIGNS).isdisjoint(files):
            yield read_state(Path(place))


def read_state(path: Path) -> RunState:
    """Read the state of a run.

    Args:
        path: Folder of the run.
    """
    files = [path / name for name in (RECIPE, "test.yaml", "metrics.csv", RESULTS, f"{ADAPTER}/training.json")]
    changed = max(file.stat().st_mtime for file in files if file.is_file())
    try:
        recipe = next((read_yaml(file) for file in files[:2] if file.is_file()), None) or {}
        training = _read_training(path)
        results = read_object(path / RESULTS, "test the run again") or {}
        if training is not None and not is_test_of(results, training):
            results = {}
        scores = {name: float(score["value"]) for name, score in results.get("metrics", {}).items()}
        model = recipe.get("model", {})
        stage = str(model.get("class_path", "")).rpartition(".")[2].removesuffix("Module")
        updates = model.get("init_args", {}).get("num_iterations", 1)
        asked = recipe.get("trainer", {}).get("max_steps")
        steps = asked if isinstance(asked, int) and asked > 0 else None
        if is_training(path):
            state, step = "training", updates * _count_batches(path)
        elif training is not None or not (path / RECIPE).is_file():
            state, step = "tested" if results else "finished", None if training is None else training.get("steps")
        else:
            state, step = "interrupted", updates * _count_batches(path)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        fault = str(error)
        if str(path) not in fault:  # a value of another kind, in a file that can be read
            fault = f"{path}: {RECIPE}, {RESULTS} or training.json is not as this package writes it; run it again"
        return RunState(path, "damaged", "", None, None, {}, changed, fault)
    return RunState(path, state, stage, step, steps if (path / RECIPE).is_file() else None, scores, changed)


def is_training(path: Path) -> bool:
    """Return true if a training runs in the folder: its lock names a living process, which still holds it.

    Args:
        path: Folder of the run.
    """
    file = path / ".fit.lock"
    try:
        holder = json.loads(file.read_text(encoding="utf-8"))
        if holder["host"] == socket.gethostname():
            os.kill(int(holder["pid"]), 0)
    except PermissionError:  # a process of another user
        pass
    except (OSError, ValueError, TypeError, KeyError):  # no lock, an unfinished one, or of a process that has ended
        return False
    return _is_locked(file)


def _is_locked(file: Path) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: a living process of this number is all that can be seen
        return True
    with file.open("rb") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)  # released when the file is closed
        except OSError:
            return True
    return False


def _read_training(path: Path) -> dict[str, Any] | None:
    for name in (ADAPTER, ENCODER):
        if (training := read_object(path / name / "training.json", "train again")) is not None:
            return training
    return {} if (path / ADAPTER).is_dir() or (path / ENCODER).is_dir() else None


def _count_batches(path: Path) -> int:
    """Number of batches in ``metrics.csv``, which counts them from 0."""
    try:
        with (path / "metrics.csv").open(newline="", encoding="utf-8") as file:
            whole = (line for line in file if line.endswith("\n"))  # without a last line that is being written
            steps = [row["step"] for row in csv.DictReader(whole) if row["step"].isdigit()]
            return 1 + max(map(int, steps), default=-1)
    except (OSError, KeyError, AttributeError):  # no file, or not this package's
        return 0
