"""Callbacks for runs under test, named in their recipes as a user's own would be."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from semalign_pl.policy.adapter import adapter_state, fingerprint


class Strike(Callback):
    """Sends its own process a signal in step ``step`` (from 1), at a hook of Lightning's.

    Hooks that do not belong to a step take the number of steps done, and fire once.
    """

    def __init__(self, step: int, signal_name: str, hook: str, rank: int = 0) -> None:
        super().__init__()
        self.step, self.signal, self.hook, self.rank = step, signal.Signals[signal_name], hook, rank
        if hook not in ("on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end"):
            setattr(self, hook, self._elsewhere)

    def _strike(self, hook: str, steps_done: int) -> None:
        mine = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0))) == self.rank
        if mine and hook == self.hook and steps_done == self.step - (hook != "on_train_batch_end"):
            os.kill(os.getpid(), self.signal)

    def _elsewhere(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        mine, self.rank = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0))) == self.rank, -1
        if mine and trainer.global_step == self.step:
            os.kill(os.getpid(), self.signal)

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        self._strike("on_train_batch_start", trainer.global_step)

    def on_before_optimizer_step(self, trainer: Trainer, *_: Any) -> None:
        self._strike("on_before_optimizer_step", trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        self._strike("on_train_batch_end", trainer.global_step)


class Insist(Callback):
    """Sends its own process SIGTERM in the second step, and again, from within the step, after a while."""

    def on_before_optimizer_step(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1.5)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)


class Fingerprint(Callback):
    """Writes each process's fingerprint of the trained weights into the run's folder."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        text = fingerprint(adapter_state(pl_module.policy))
        Path(trainer.default_root_dir, f"fingerprint-{trainer.global_rank}").write_text(text, encoding="utf-8")
