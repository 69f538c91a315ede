"""Atomic writing of checkpoints; a run whose checkpoint cannot be written ends with a one-line error."""

from __future__ import annotations

from pathlib import Path

import torch
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.fabric.utilities.types import _PATH
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.io.wrapper import _WrappingCheckpointIO

from semalign_pl.files.atomic import replace_file
from semalign_pl.files.disk import WriteError


class CheckpointError(WriteError):
    """Error for a checkpoint that cannot be written; the message names the checkpoint to resume from."""


class CheckpointFiles(TorchCheckpointIO):
    """Write a local checkpoint to a temporary file in the target's folder, and rename it.

    Lightning itself writes it to TMPDIR and moves it from there (fsspec's transactions). If TMPDIR is on another disk,
    the move is a copy over the last good checkpoint, and a full disk truncates it. Also, a full TMPDIR stops a run
    whose own disk has space.
    """

    def save_checkpoint(self, checkpoint: dict[str, object], path: _PATH, storage_options: object = None) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: State of the run.
            path: Path of the file; Lightning writes it if it is on a remote file system.
            storage_options: Options that Lightning refuses; ``None`` for none.

        Raises:
            CheckpointError: If it cannot be written; the message names the newest checkpoint in the folder.
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
    """Sentence that names the newest checkpoint of a folder, to resume from."""
    newest = max(folder.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns, default=None)
    if newest is None:
        return f"The run has stopped, and {folder} holds no earlier checkpoint"
    return f"The run has stopped; go on from its newest checkpoint with --ckpt_path {newest}"


def use_checkpoint_files(trainer: Trainer) -> None:
    """Let a trainer write its checkpoints by ``CheckpointFiles``, unless the user chose another class for it.

    Args:
        trainer: Trainer of the run.
    """
    strategy = trainer.strategy
    if type(strategy.checkpoint_io) is TorchCheckpointIO:
        strategy.checkpoint_io = CheckpointFiles()
    elif isinstance(strategy.checkpoint_io, _WrappingCheckpointIO):
        if type(strategy.checkpoint_io.checkpoint_io) is TorchCheckpointIO:
            strategy.checkpoint_io._checkpoint_io = CheckpointFiles()
