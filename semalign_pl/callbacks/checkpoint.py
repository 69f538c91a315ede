"""Default checkpoint callback, for runs that name no other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint, OnExceptionCheckpoint
from lightning.pytorch.utilities.types import STEP_OUTPUT


class TimedCheckpoint(ModelCheckpoint):
    """Save ``RUN/checkpoints/last.ckpt`` at a fixed interval in minutes, and at the end of each epoch.

    At the end of an epoch, the same state is also saved as ``epoch=E-step=S.ckpt``; only the newest of these files is
    kept. Checkpoints are always saved at the end of a step, so that a resumed run ends bit for bit like an
    uninterrupted one.

    Every run has this callback, unless its recipe names a checkpoint callback of its own or sets
    ``trainer.enable_checkpointing: false``. Lightning's own ``train_time_interval`` does nothing under manual
    optimisation, which all stages use.

    Args:
        minutes: Minutes between two checkpoints, the most work that is lost when a run is killed. 0 saves after every
            step.
    """

    def __init__(self, minutes: float = 10.0) -> None:
        if minutes < 0:
            raise ValueError(f"TimedCheckpoint.minutes: {minutes} is negative; give e.g. 10")
        # A folder belongs to one run, so last.ckpt needs no version counter. The end of an epoch is not saved in
        # validation, which is before Lightning counts the epoch as done.
        super().__init__(save_last=True, every_n_epochs=1, save_on_train_epoch_end=True, enable_version_counter=False)
        self.minutes = minutes

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Save ``last.ckpt`` if it is due; rank 0 decides for all, because every rank takes part in saving."""
        assert self._last_time_checked is not None, "set when training started"
        due = time.monotonic() - self._last_time_checked >= 60 * self.minutes
        if trainer.world_size > 1:
            due = trainer.strategy.broadcast(due)
        if due and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))
            self._last_time_checked = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the end of the epoch, even if its last step is saved already."""
        self._last_global_step_saved = 0
        super().on_train_epoch_end(trainer, pl_module)


def with_checkpoint(callbacks: Sequence[Callback], trainer: Mapping[str, object], folder: Path) -> list[Callback]:
    """Callbacks of a run, with one that saves checkpoints unless the recipe wants none.

    The checkpoints are saved in ``RUN/checkpoints``, where ``--resume`` looks, whatever logger the run has. Lightning
    would use the logger's folder, and a new version of it per run.

    Args:
        callbacks: Callbacks of the recipe.
        trainer: Settings of the recipe's ``trainer`` section.
        folder: Folder of the run.

    Returns:
        All callbacks, an added one last.

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
                callback.save_last = False  # Lightning would write last.ckpt even at the end of fast_dev_run
    return chosen
