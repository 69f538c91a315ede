"""A run's folder: who may write there, which run it holds, and where that run's checkpoints are."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import Trainer

from semalign_pl.run.results import read_training

RESULTS = ("adapter", "encoder")
"""Folders in which training leaves its result."""


def is_trial(trainer: Trainer) -> bool:
    """True under ``trainer.fast_dev_run``, which leaves the run's folder as it is.

    Args:
        trainer: Of the run.
    """
    return bool(getattr(trainer, "fast_dev_run", False))


def may_write(trainer: Trainer) -> bool:
    """True in the one process that writes into the run's folder; a trial has none.

    Args:
        trainer: Of the run.
    """
    return trainer.is_global_zero and not is_trial(trainer)


@dataclass(frozen=True)
class RunFolder:
    """The folder of a run, and what an earlier run left in it.

    Attributes:
        path: ``trainer.default_root_dir``.
        places: Folders in which the run keeps its checkpoints: its own, ``checkpoints`` in it, and the ``dirpath`` of
            each checkpoint callback.
    """

    path: Path
    places: tuple[Path, ...]

    @classmethod
    def of(cls, trainer: Trainer) -> RunFolder:
        """The folder that a trainer writes to."""
        path = Path(trainer.default_root_dir)
        chosen = [getattr(callback, "dirpath", None) for callback in trainer.checkpoint_callbacks]
        places = [path, path / "checkpoints", *(Path(place) for place in chosen if place)]
        return cls(path, tuple(places))

    def checkpoints(self) -> list[Path]:
        """Every ``.ckpt`` file of the run, the last written first."""
        found = [file for place in reversed(self.places) for file in place.glob("*.ckpt") if file.is_file()]
        files = {file.absolute(): file for file in found}  # a place may be listed twice
        return sorted(files.values(), key=lambda file: file.stat().st_mtime, reverse=True)

    def newest(self) -> tuple[tuple[Path, int] | None, list[str]]:
        """The last written checkpoint that can be read whole.

        Checkpoints that Lightning wrote on a signal of SLURM's (``hpc_ckpt_N.ckpt``) are left out: they are made inside
        a step, whose batch they count as seen.

        Returns:
            The file and its step, ``None`` if there is none; and one message per damaged file that was passed over.
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
        """The folder with what an earlier run trained, ``None`` if there is none."""
        return next((self.path / name for name in RESULTS if (self.path / name).exists()), None)

    def finished_step(self) -> int | None:
        """Optimiser steps of the result, ``None`` where nothing was exported whole.

        Raises:
            ValueError: If ``training.json`` cannot be read.
        """
        result = self.result()
        training = None if result is None else read_training(str(result))
        return None if training is None else training.get("steps", 0)

    def owns(self, checkpoint: Path) -> bool:
        """True for a checkpoint in one of the run's folders."""
        return any(place.resolve() in checkpoint.resolve().parents for place in self.places)

    def hint(self, otherwise: str) -> str:
        """A remedy for who names a checkpoint that is not there: the newest one, or ``otherwise``."""
        found, _ = self.newest()
        if found is None:
            return f"there is no checkpoint in {self.path} either; {otherwise}"
        return f"the newest checkpoint of the run is {found[0]} (step {found[1]}); give --ckpt_path {found[0]}"


def read_step(checkpoint: Path) -> int:
    """The number of optimiser steps done when a checkpoint was written, once every byte of it is known to be right.

    torch itself reads flipped or zeroed bytes as weights; the archive has a checksum per tensor.

    Args:
        checkpoint: The file.

    Raises:
        ValueError: If the file is cut off, changed, or not a checkpoint.
    """
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            broken = archive.testzip()
        if broken is None:
            # Mapped, so that only the numbers are read a second time, and not the tensors.
            return int(torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"])
        reason = f"{broken} does not match its checksum"
    except Exception as error:  # zipfile, pickle and torch raise a dozen kinds on a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    raise ValueError(f"{checkpoint} is damaged or not a checkpoint ({reason})")
