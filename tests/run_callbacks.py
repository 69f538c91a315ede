"""Callbacks for runs under test, named in their recipes as a user's own would be."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from semalign_pl.policy.adapter import adapter_state, fingerprint


class Strike(Callback):
    """Sends its own process a signal in step ``step`` (from 1), at a hook of Lightning's.

    Only once, if a file ``once`` is named, which then marks it.
    """

    def __init__(self, step: int, signal_name: str, hook: str, once: str | None = None) -> None:
        super().__init__()
        self.once = once
        self.step, self.signal, self.hook = step, signal.Signals[signal_name], hook

    def _strike(self, hook: str, steps_done: int) -> None:
        if hook == self.hook and steps_done == self.step - (hook != "on_train_batch_end"):
            if self.once is not None:
                if Path(self.once).exists():
                    return
                Path(self.once).touch()
            os.kill(os.getpid(), self.signal)

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._strike("on_train_batch_start", trainer.global_step)

    def on_before_optimizer_step(self, trainer: Trainer, *_: Any) -> None:
        self._strike("on_before_optimizer_step", trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._strike("on_train_batch_end", trainer.global_step)


class Fingerprint(Callback):
    """Writes each process's fingerprint of the trained weights into the run's folder."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        text = fingerprint(adapter_state(pl_module.policy))
        Path(trainer.default_root_dir, f"fingerprint-{trainer.global_rank}").write_text(text, encoding="utf-8")
