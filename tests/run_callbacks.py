"""Callbacks for runs under test, named in their recipes as a user's own would be."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import Any

from filling import fill
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from semalign_pl.policy.adapter import adapter_state, fingerprint


class Strike(Callback):
    """Sends its own process a signal in step ``step`` (from 1), at a hook of Lightning's."""

    def __init__(self, step: int, signal_name: str, hook: str) -> None:
        super().__init__()
        self.step, self.signal, self.hook = step, signal.Signals[signal_name], hook

    def _strike(self, hook: str, steps_done: int) -> None:
        if hook == self.hook and steps_done == self.step - (hook != "on_train_batch_end"):
            os.kill(os.getpid(), self.signal)

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._strike("on_train_batch_start", trainer.global_step)

    def on_before_optimizer_step(self, trainer: Trainer, *_: Any) -> None:
        self._strike("on_before_optimizer_step", trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._strike("on_train_batch_end", trainer.global_step)


class FillDisk(Callback):
    """Fills the disk of ``folder`` before step ``step`` (from 1) but for so many bytes, or limits the size of files."""

    def __init__(self, folder: str, step: int, free: int, mounted: bool) -> None:
        super().__init__()
        self.folder, self.step, self.free, self.mounted = folder, step, free, mounted

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step != self.step - 1 or not trainer.is_global_zero:
            return
        if self.mounted:
            fill(Path(self.folder), self.free)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.free, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


class Fingerprint(Callback):
    """Writes each process's fingerprint of the trained weights into the run's folder."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        text = fingerprint(adapter_state(pl_module.policy))
        Path(trainer.default_root_dir, f"fingerprint-{trainer.global_rank}").write_text(text, encoding="utf-8")
