"""Prepare the folder of a training that is not finished: resume in it, or move an earlier run away."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from semalign_pl.files.atomic import write_text
from semalign_pl.files.documents import read_json
from semalign_pl.run.lock import hold
from semalign_pl.run.rotation import free_folder

NOTE = "fit.started.json"
"""File in a training's folder with the dependencies with which the training started."""


def distrust(folder: Path) -> None:
    """Let the next `enter` move a folder away instead of resuming in it, since its result has changed.

    Args:
        folder: Folder of the step.
    """
    (folder / NOTE).unlink(missing_ok=True)


def enter(folder: Path, command: str, grounds: Mapping[str, str]) -> list[str]:
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
        if note.is_file() and _read(note) == grounds:
            return ["--resume"]
        earlier = free_folder(folder)
        with hold(folder, "fit"):  # fails if a training is running in the folder
            folder.rename(earlier)
        print(f"  {folder} holds an earlier run; it was moved to {earlier}", flush=True)
    folder.mkdir(parents=True)
    write_text(note, json.dumps({"grounds": dict(grounds)}, ensure_ascii=False, indent=1))
    return []


def _read(note: Path) -> object:
    try:
        return read_json(note, "")["grounds"]
    except (ValueError, TypeError, KeyError):  # damaged, so the folder cannot be trusted
        return None
