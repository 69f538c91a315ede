"""What a study does with the folder of a step that is not done: go on in it, or make room."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semalign_pl.files.atomic import write_text
from semalign_pl.files.documents import read_json
from semalign_pl.run.lock import hold


def enter(folder: Path, command: str, grounds: Mapping[str, str]) -> list[str]:
    """Make a training's folder ready, and note on what grounds it begins.

    A training that was broken off on the same grounds goes on from its newest checkpoint. Whatever else is in the
    folder is of an earlier training, and is moved beside it, so that nothing of two trainings mixes. What only scores
    writes over its own files.

    Args:
        folder: Of the step.
        command: Of the step.
        grounds: What the step's result depends on, by name; revisions that the step itself may download left out.

    Returns:
        Further flags of the command.

    Raises:
        ValueError: If another training is running in the folder.
    """
    if command != "fit":
        return []
    note = folder / "fit.started.json"
    if folder.exists():
        if note.is_file() and _read(note) == grounds:
            return ["--resume"]
        earlier = _free(folder)
        with hold(folder, "fit"):  # not from under a training that is running
            folder.rename(earlier)
        print(f"  {folder} holds an earlier run; it was moved to {earlier}", flush=True)
    folder.mkdir(parents=True)
    write_text(note, json.dumps({"grounds": dict(grounds)}, ensure_ascii=False, indent=1))
    return []


def _read(note: Path) -> Any:
    try:
        return read_json(note, "")["grounds"]
    except (ValueError, TypeError, KeyError):  # damaged: then nothing vouches for the folder
        return None


def _free(folder: Path) -> Path:
    number = 1
    while (earlier := folder.with_name(f"{folder.name}.earlier-{number}")).exists():
        number += 1
    return earlier
