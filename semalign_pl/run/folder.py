"""Folder of a run: the run that it contains, and that run's checkpoints."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Trainer

from semalign_pl.messages.error_text import first_line
from semalign_pl.run.finished import ADAPTER, ENCODER
from semalign_pl.run.results import read_training


@dataclass(frozen=True)
class RunFolder:
    """Folder of a run, with the files that an earlier run left in it.

    Attributes:
        path: Value of ``trainer.default_root_dir``.
        places: Folders with checkpoints of the run: its own folder, the subfolder ``checkpoints``, and the ``dirpath``
            of each checkpoint callback.
    """

    path: Path
    places: tuple[Path, ...]

    @classmethod
    def of(cls, trainer: Trainer) -> RunFolder:
        """Folder that a trainer writes to.

        Args:
            trainer: Trainer of the run.
        """
        path = Path(trainer.default_root_dir)
        chosen = [getattr(callback, "dirpath", None) for callback in trainer.checkpoint_callbacks]
        places = [path, path / "checkpoints", *(Path(place) for place in chosen if place)]
        return cls(path, tuple(places))

    def checkpoints(self) -> list[Path]:
        """All ``.ckpt`` files of the run, from the newest to the oldest."""
        found = [file for place in reversed(self.places) for file in place.glob("*.ckpt") if file.is_file()]
        files = {file.absolute(): file for file in found}  # a place may be listed twice
        return sorted(files.values(), key=lambda file: file.stat().st_mtime, reverse=True)

    def newest(self) -> tuple[tuple[Path, int] | None, list[str]]:
        """Newest checkpoint that is not damaged.

        Checkpoints that Lightning wrote on a SLURM signal (``hpc_ckpt_N.ckpt``) are left out: they were written within
        a step, whose batch they count as seen.

        Returns:
            File and its optimiser step, or ``None`` if there is no such file; and one message per damaged file that was
            skipped.
        """
        damaged = []
        for file in self.checkpoints():
            if file.name.startswith("hpc_ckpt_"):
                continue
            try:
                return (file, read_step(file)), damaged
            except ValueError as error:
                damaged.append(str(error))
        return None, damaged

    def result(self) -> Path | None:
        """Folder with the trained weights of an earlier run; ``None`` if there is none."""
        return next((self.path / name for name in (ADAPTER, ENCODER) if (self.path / name).exists()), None)

    def finished_step(self) -> int | None:
        """Number of optimiser steps of the result; ``None`` if there is no complete result.

        Raises:
            ValueError: If ``training.json`` cannot be read, or its ``steps`` is no whole number.
        """
        result = self.result()
        training = None if result is None else read_training(str(result))
        steps = None if training is None else training.get("steps", 0)
        if steps is not None and not isinstance(steps, int):
            file = f"{result}/training.json"
            raise ValueError(f"{file}: steps: {steps!r} is no whole number; give the run another folder")
        return steps

    def owns(self, checkpoint: Path) -> bool:
        """Return true if a checkpoint is in one of the run's folders.

        Args:
            checkpoint: Checkpoint file.
        """
        return any(place.resolve() in checkpoint.resolve().parents for place in self.places)

    def hint(self, otherwise: str) -> str:
        """Remedy for a checkpoint that does not exist: the newest one, or ``otherwise``.

        Args:
            otherwise: Remedy if the run has no checkpoint.
        """
        found, _ = self.newest()
        if found is None:
            return f"there is no checkpoint in {self.path} either; {otherwise}"
        return f"the newest checkpoint of the run is {found[0]} (step {found[1]}); give --ckpt_path {found[0]}"


def read_step(checkpoint: Path) -> int:
    """Check every byte of a checkpoint, and read its number of optimiser steps.

    torch itself reads flipped or zeroed bytes as weights; the zip archive has a checksum per tensor.

    Args:
        checkpoint: Checkpoint file.

    Returns:
        Number of optimiser steps done when the checkpoint was written.

    Raises:
        ValueError: If the file is cut off, changed, or not a checkpoint.
    """
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            broken = archive.testzip()
        if broken is None:
            # Memory-mapped, so that only the numbers are read a second time, not the tensors.
            return int(torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"])
        reason = f"{broken} does not match its checksum"
    except Exception as error:  # zipfile, pickle and torch raise many kinds of errors for a damaged file
        reason = first_line(error)
    raise ValueError(f"{checkpoint} is damaged or not a checkpoint ({reason})")
