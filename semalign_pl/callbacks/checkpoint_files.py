"""Checkpoints are written whole, beside their target; a run whose checkpoint cannot be written ends in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.io.wrapper import _WrappingCheckpointIO

from semalign_pl.files.atomic import replace_file
from semalign_pl.files.disk import WriteError


class CheckpointError(WriteError):
    """A checkpoint cannot be written; says from which one the run can go on."""


class CheckpointFiles(TorchCheckpointIO):
    """Writes local checkpoints beside their target and renames them.

    Lightning itself writes them to TMPDIR and moves them from there (fsspec's transactions). Where TMPDIR is another
    disk, that is a copy over the last good checkpoint, and a full disk cuts it; and a full TMPDIR stops a run whose own
    disk is empty.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: State of the run.
            path: The file; one of a remote file system is written as Lightning does.
            storage_options: Refused, as by Lightning.

        Raises:
            CheckpointError: If it cannot be written; names the newest checkpoint there is.
        """
        disk, local = url_to_fs(str(path))
        if storage_options is not None or not isinstance(disk, LocalFileSystem):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        try:
            with replace_file(Path(local)) as file:
                torch.save(checkpoint, file)
        except WriteError as error:
            raise CheckpointError(f"{error}. {_newest(Path(local).parent)}", error.strerror) from error


def _newest(folder: Path) -> str:
    """Say from which checkpoint of a folder a run can go on."""
    found = max(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns, default=None)
    if found is None:
        return f"The run has stopped, and {folder} holds no earlier checkpoint"
    return f"The run has stopped; go on from its newest checkpoint with --ckpt_path {found}"


def use_checkpoint_files(trainer: Trainer) -> None:
    """Let a trainer write its checkpoints by `CheckpointFiles`, unless the user gave another class for it."""
    strategy = trainer.strategy
    if type(strategy.checkpoint_io) is TorchCheckpointIO:
        strategy.checkpoint_io = CheckpointFiles()
    elif isinstance(strategy.checkpoint_io, _WrappingCheckpointIO):
        if type(strategy.checkpoint_io.checkpoint_io) is TorchCheckpointIO:
            strategy.checkpoint_io._checkpoint_io = CheckpointFiles()
