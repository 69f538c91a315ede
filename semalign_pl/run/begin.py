"""Start of a command: afresh, from a checkpoint, or not at all, depending on the content of the run's folder."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch import Trainer

from semalign_pl.run.folder import RunFolder, read_step
from semalign_pl.run.lock import hold
from semalign_pl.run.trainer import is_trial

log = logging.getLogger(__name__)

ANOTHER = "give another --trainer.default_root_dir, or move or delete the folder"


@dataclass(frozen=True)
class Start:
    """Start of a command.

    Attributes:
        checkpoint: Checkpoint file to load; ``None`` to start afresh.
        done: True if the run is finished and nothing is left to do.
    """

    checkpoint: str | None = None
    done: bool = False


@contextlib.contextmanager
def begin(trainer: Trainer, command: str, checkpoint: str | None, resume: bool) -> Iterator[Start]:
    """Decide where a command starts, and lock its folder against other runs until the block ends.

    A folder holds one training. A test may run at the same time: it writes other files and has another lock, shared by
    ``validate``, ``test`` and ``predict``. Under DDP the first rank holds the lock. Each rank reads the folder itself,
    so all ranks must see the same files, as they must to load a checkpoint.

    Args:
        trainer: Trainer of the run.
        command: ``fit``, ``validate``, ``test`` or ``predict``.
        checkpoint: Value of ``--ckpt_path``: a file, or one of Lightning's keywords such as ``last``.
        resume: Value of ``--resume``.

    Yields:
        Checkpoint to start from, if any.

    Raises:
        ValueError: If there is no such checkpoint, or the folder belongs to another run; with the remedy.
    """
    folder = RunFolder.of(trainer)
    if is_trial(trainer):
        trainer.print(f"trainer.fast_dev_run: a trial, of which nothing is written to {folder.path}")
        lock = contextlib.nullcontext()
    elif not trainer.is_global_zero:
        lock = contextlib.nullcontext()
    else:
        lock = hold(folder.path, "fit" if command == "fit" else "test")
    with lock:
        if checkpoint is not None:
            checkpoint = find_checkpoint(folder, command, checkpoint)
        if command != "fit":
            yield Start(checkpoint)
        elif resume:
            yield _resume(trainer, folder)
        else:
            if not is_trial(trainer):
                _refuse_used(folder, checkpoint)
            yield Start(checkpoint)


def find_checkpoint(folder: RunFolder, command: str, checkpoint: str) -> str:
    """Find the file that ``--ckpt_path`` names.

    Lightning accepts four keywords besides paths. If a keyword leads to no checkpoint, it runs without one, or stops in
    the middle. Here ``last`` is looked up in the run's folders, and the others are refused: ``best`` is known only to
    the process that trained, ``hpc`` was written within a step, and ``registry`` is an online service.

    Args:
        folder: Folder of the run.
        command: Command that will load the checkpoint.
        checkpoint: Value of ``--ckpt_path``.

    Returns:
        Absolute path of the file, which Lightning cannot take for a keyword.

    Raises:
        ValueError: If there is no such file, or it is damaged; names the newest checkpoint.
    """
    done_without = "start afresh" if command == "fit" else f"{command} what model.init_args names"
    otherwise = f"leave --ckpt_path out to {done_without}"
    if checkpoint == "last":
        named = [file for file in folder.checkpoints() if re.match(r"last(-v?\d+)?\.ckpt$", file.name)]
        if not named:
            raise ValueError(
                f"--ckpt_path last: there is no last.ckpt in {folder.path}/checkpoints; {folder.hint(otherwise)}"
            )
        file = named[0]
    elif checkpoint in ("best", "hpc") or not Path(checkpoint).is_file():
        raise ValueError(f"--ckpt_path {checkpoint}: a file is needed here; {folder.hint(otherwise)}")
    else:
        file = Path(checkpoint)
    try:
        read_step(file)
    except ValueError as error:
        raise ValueError(f"--ckpt_path {checkpoint}: {error}; {folder.hint(otherwise)}") from error
    return str(file.absolute())


def _resume(trainer: Trainer, folder: RunFolder) -> Start:
    finished = folder.finished_step()
    newest, damaged = folder.newest()
    for message in damaged:
        log.warning("--resume: %s; %s", message, "an older one is taken" if newest else "there is no older one")
    if finished is not None and (newest is None or newest[1] <= finished):
        more = f"; to train on, give --ckpt_path {newest[0]} and a larger trainer.max_steps" if newest else ""
        trainer.print(f"--resume: {folder.path} holds a finished run of {finished} steps: nothing is left to do{more}")
        return Start(done=True)
    if newest is not None:
        trainer.print(f"--resume: going on from {newest[0]} at step {newest[1]}")
        return Start(str(newest[0].absolute()))
    unusable = folder.checkpoints()
    if unusable:
        raise ValueError(f"--resume: no checkpoint in {folder.path} can be gone on from ({unusable[0]}); {ANOTHER}")
    if not is_trial(trainer):
        _refuse_used(folder, None)
    trainer.print(f"--resume: there is no checkpoint in {folder.path} yet; starting afresh")
    return Start()


def _refuse_used(folder: RunFolder, checkpoint: str | None) -> None:
    """Refuse a folder with another run: a new fit must not overwrite its files or mix its own with them.

    Args:
        folder: Folder of the run.
        checkpoint: Checkpoint that the fit starts from, which may be the folder's own; ``None`` to start afresh.

    Raises:
        ValueError: If the folder has a result or checkpoints; with the remedy.
    """
    if checkpoint is not None and folder.owns(Path(checkpoint)):
        return
    result = folder.result()
    if result is not None:
        raise ValueError(f"trainer.default_root_dir: {folder.path} holds an earlier run's {result.name}; {ANOTHER}")
    checkpoints = folder.checkpoints()
    if checkpoints:
        raise ValueError(
            f"trainer.default_root_dir: {folder.path} holds an unfinished run, whose newest checkpoint is "
            f"{checkpoints[0]}; --resume goes on with it. For a new run {ANOTHER}"
        )
