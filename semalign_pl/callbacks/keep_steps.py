"""Adapters of the training's steps, kept as points of the system's frontier."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT

from semalign_pl.callbacks.export import write_result
from semalign_pl.run.kept_steps import STEPS, step_folder
from semalign_pl.run.trainer import may_write


class KeepSteps(Callback):
    """Keep the adapter after every N optimiser steps, as ``RUN/steps/step-000050`` and so on.

    Each folder is like ``RUN/adapter``: PEFT, another stage and ``semalign test`` load it. The adapter before the first
    step is ``step-000000``. ``semalign frontier RUN/adapter`` tests all of them. The folders stay until another
    training begins in the run's folder: it moves the files of the earlier run, ``steps`` too, to ``RUN.earlier-1``.

    Args:
        every_n_steps: Number of optimiser steps between two folders.
    """

    def __init__(self, every_n_steps: int) -> None:
        super().__init__()
        if every_n_steps < 1:
            raise ValueError(f"KeepSteps.every_n_steps: {every_n_steps} is not a positive number of steps")
        self.every_n_steps = every_n_steps
        self._last = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count steps from the one at which training starts or resumes, and keep that one if it is missing."""
        self._last = trainer.global_step
        if self._last % self.every_n_steps == 0 and not self._folder(trainer).exists():
            self._keep(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Keep the adapter after the batch that completes N more steps; a batch may make several (num_iterations)."""
        step = trainer.global_step
        if step // self.every_n_steps > self._last // self.every_n_steps:
            self._keep(trainer, pl_module)
        self._last = step

    def _folder(self, trainer: Trainer) -> Path:
        return step_folder(Path(trainer.default_root_dir) / STEPS, trainer.global_step)

    def _keep(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if may_write(trainer):
            folder = self._folder(trainer)
            write_result(trainer, pl_module, folder.parent, folder.name)
