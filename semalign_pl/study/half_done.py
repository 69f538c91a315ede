"""What a study does with the folder of a step that is not done: go on in it, or make room."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from semalign_pl.documents import read_json
from semalign_pl.run_lock import hold


def enter(folder: Path, command: str, fingerprint: Any) -> list[str]:
    """Make a training's folder ready, and note on what grounds it begins.

    A training that was broken off on the same grounds goes on from its newest checkpoint. Whatever else is in the
    folder is of an earlier training, and is moved beside it, so that nothing of two trainings mixes. What only scores
    writes over its own files.

    Args:
        folder: Of the step.
        command: Of the step.
        fingerprint: What the step's result depends on, as JSON holds it.

    Returns:
        Further flags of the command.

    Raises:
        ValueError: If another training is running in the folder.
    """
    if command != "fit":
        return []
    note = folder / "fit.started.json"
    if folder.exists():
        if note.is_file() and _read(note) == fingerprint:
            return ["--resume"]
        earlier = _free(folder)
        with hold(folder, "fit"):  # not from under a training that is running
            folder.rename(earlier)
        print(f"  {folder} holds an earlier run; it was moved to {earlier}", flush=True)
    folder.mkdir(parents=True)
    note.write_text(json.dumps({"fingerprint": fingerprint}), encoding="utf-8")
    return []


def _read(note: Path) -> Any:
    try:
        return read_json(note, "")["fingerprint"]
    except (ValueError, TypeError, KeyError):  # damaged: then nothing vouches for the folder
        return None


def _free(folder: Path) -> Path:
    number = 1
    while (earlier := folder.with_name(f"{folder.name}.earlier-{number}")).exists():
        number += 1
    return earlier
