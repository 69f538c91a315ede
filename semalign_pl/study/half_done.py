"""Prepare the folder of a training that is not finished: resume in it, or move an earlier run away."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semalign_pl.files.atomic import write_text
from semalign_pl.files.documents import read_json
from semalign_pl.run.grounds import changes
from semalign_pl.run.lock import hold
from semalign_pl.run.rotation import free_folder

NOTE = "fit.started.json"
"""File in a training's folder: dependencies with which it started, its last start, and its seconds before that."""


def distrust(folder: Path) -> None:
    """Let the next `enter` move a folder away instead of resuming in it, since its result has changed.

    Args:
        folder: Folder of the step.
    """
    (folder / NOTE).unlink(missing_ok=True)


def enter(folder: Path, command: str, grounds: dict[str, str]) -> list[str]:
    """Prepare a training's folder, and record the dependencies with which the training starts.

    A training that was interrupted resumes from its newest checkpoint if its dependencies are the same. Otherwise the
    folder is of an earlier training and is renamed, so that files of two trainings never mix. A test needs no
    preparation: it overwrites its own files.

    Args:
        folder: Folder of the step.
        command: Command of the step, ``fit`` or ``test``.
        grounds: Dependencies of the step by name, without revisions that the step itself may download.

    Returns:
        Additional flags for the command: ``--resume`` or none.

    Raises:
        ValueError: If another training is running in the folder.
    """
    if command != "fit":
        return []
    note = folder / NOTE
    if folder.exists():
        content = _read(note) if note.is_file() else {}
        started = content.get("grounds")
        if isinstance(started, dict) and not changes(started, grounds):
            with hold(folder, "fit"):  # a training that is running needs its own start
                _write(note, grounds, earlier_seconds(folder) + _kept_seconds(folder, content.get("began")))
            return ["--resume"]
        earlier = free_folder(folder)
        with hold(folder, "fit"):  # fails if a training is running in the folder
            folder.rename(earlier)
        print(f"  {folder} holds an earlier run; it was moved to {earlier}", flush=True)
    folder.mkdir(parents=True)
    _write(note, grounds, 0.0)
    return []


def earlier_seconds(folder: Path) -> float:
    """Seconds of a training before its last start, up to the checkpoints at which it was resumed.

    Args:
        folder: Folder of the step.
    """
    seconds = _read(folder / NOTE).get("earlier", 0.0)
    return float(seconds) if isinstance(seconds, int | float) and math.isfinite(seconds) else 0.0


def _kept_seconds(folder: Path, began: object) -> float:
    """Seconds from a start, as ``time.time`` gave it, to the newest checkpoint: the work that a resumed run keeps."""
    written = [file.stat().st_mtime for file in (folder / "checkpoints").glob("*.ckpt")]
    return max(0.0, max(written) - began) if written and isinstance(began, int | float) else 0.0


def _write(note: Path, grounds: Mapping[str, str], earlier: float) -> None:
    content = {"grounds": dict(grounds), "earlier": earlier, "began": time.time()}
    write_text(note, json.dumps(content, ensure_ascii=False, indent=1))


def _read(note: Path) -> dict[str, Any]:
    """Content of the note; empty if it is damaged, so that its folder cannot be trusted, or is not there."""
    try:
        content = read_json(note, "")
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
