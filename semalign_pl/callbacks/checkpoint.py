"""The checkpoint of every run that names no other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint, OnExceptionCheckpoint


class TimedCheckpoint(ModelCheckpoint):
    """Save ``RUN/checkpoints/last.ckpt`` every so many minutes, and at the end of each epoch.

    At an epoch's end the same state is also saved as ``epoch=E-step=S.ckpt``; the newest of these is kept. Saved is
    always at the end of a step, so that a resumed run ends bit for bit where an uninterrupted one does.

    Every run has this callback unless its recipe names a checkpoint callback of its own, or says
    ``trainer.enable_checkpointing: false``. Lightning's own ``train_time_interval`` does nothing under manual
    optimisation, which all stages use.

    Args:
        minutes: Time between two checkpoints; at most so much work is lost when a run is killed. 0 saves every step.
    """

    def __init__(self, minutes: float = 10.0) -> None:
        if minutes < 0:
            raise ValueError(f"TimedCheckpoint.minutes: {minutes} is negative; give e.g. 10")
        # A folder is one run's, so there is no second last.ckpt to count. Where validation would save the end of an
        # epoch, that is before Lightning has counted the epoch as done.
        super().__init__(save_last=True, every_n_epochs=1, save_on_train_epoch_end=True, enable_version_counter=False)
        self.minutes = minutes

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save ``last.ckpt`` if it is time to; rank 0 decides for all, as every rank takes part in saving."""
        assert self._last_time_checked is not None, "set when training started"
        due = time.monotonic() - self._last_time_checked >= 60 * self.minutes
        if trainer.world_size > 1:
            due = trainer.strategy.broadcast(due)
        if due and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
            self._last_time_checked = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the epoch, even if its last step was saved already."""
        self._last_global_step_saved = 0
        super().on_train_epoch_end(trainer, pl_module)


def with_checkpoint(callbacks: Sequence[Callback], trainer: Mapping[str, Any], folder: Path) -> list[Callback]:
    """A run's callbacks, one that saves among them unless the recipe wants none.

    They save into ``RUN/checkpoints``, where ``--resume`` looks, whichever logger the run has; Lightning would follow
    the logger, and a new version of it per run.

    Args:
        callbacks: The recipe's.
        trainer: The recipe's ``trainer`` section.
        folder: Of the run.

    Returns:
        All of them, ours last.

    Raises:
        ValueError: If a callback of the recipe would never save.
    """
    named = any(isinstance(c, Checkpoint) and not isinstance(c, OnExceptionCheckpoint) for c in callbacks)
    wanted = trainer.get("enable_checkpointing") is not False and not trainer.get("fast_dev_run")
    chosen = [*callbacks, TimedCheckpoint()] if wanted and not named else list(callbacks)
    for callback in chosen:
        if isinstance(callback, ModelCheckpoint):
            callback.dirpath = callback.dirpath or str(folder / "checkpoints")
            if callback._train_time_interval is not None:
                raise ValueError(
                    "trainer.callbacks: ModelCheckpoint.train_time_interval does nothing under manual optimisation, "
                    "which every stage uses; write TimedCheckpoint with minutes, or every_n_train_steps"
                )
            if trainer.get("fast_dev_run"):
                callback.save_last = False  # Lightning writes last.ckpt at the end of a trial too
    return chosen
