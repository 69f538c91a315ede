"""Callbacks for runs under test, which their recipes name like a user's own."""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from helpers.filling import fill
from semalign_pl.callbacks import Evaluation
from semalign_pl.functional.formulas import score_items
from semalign_pl.metrics import RowMetric
from semalign_pl.policy.adapter import adapter_state, fingerprint
from semalign_pl.policy.policy import Policy
from semalign_pl.probes import Probe
from semalign_pl.rewards import Reward
from semalign_pl.types import Item, Measurement


class Strike(Callback):
    """Send a signal to this process in step ``step`` (from 1), at a hook of Lightning's.

    Hooks outside of a step take the number of steps done, and fire once. With a folder ``dirpath``, no hook fires a
    second time, not even in a later process: it writes a file ``struck`` there. A study takes a key of this name for an
    output, so the file is no dependency of the run.
    """

    def __init__(self, step: int, signal_name: str, hook: str, rank: int = 0, dirpath: str | None = None) -> None:
        super().__init__()
        self.step, self.signal, self.hook, self.rank = step, signal.Signals[signal_name], hook, rank
        self.struck = None if dirpath is None else Path(dirpath, "struck")
        if hook not in ("on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end"):
            setattr(self, hook, self._elsewhere)

    def _strike(self, hook: str, steps_done: int) -> None:
        mine = int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0))) == self.rank
        if mine and hook == self.hook and steps_done == self.step - (hook != "on_train_batch_end"):
            if self.struck is not None:
                if self.struck.exists():
                    return
                self.struck.touch()
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


class FillDisk(Callback):
    """Fill the disk of ``folder`` except for some bytes before step ``step`` (from 1), or limit the size of files."""

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


class Insist(Callback):
    """Send SIGTERM to this process in the second step, and again after a while, within the step."""

    def on_before_optimizer_step(self, trainer: Trainer, *_: Any) -> None:
        if trainer.global_step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1.5)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)


class Fingerprint(Callback):
    """Write each process's fingerprint of the trained weights to the run's folder."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        text = fingerprint(adapter_state(pl_module.policy))
        Path(trainer.default_root_dir, f"fingerprint-{trainer.global_rank}").write_text(text, encoding="utf-8")


class ValidationLoss(Callback):
    """Writes each process's ``val/loss`` into the run's folder."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = float(trainer.callback_metrics["val/loss"])
        Path(trainer.default_root_dir, f"loss-{trainer.global_rank}").write_text(str(loss), encoding="utf-8")


class Overflow(Callback):
    """Make the gradient of one rank infinite in one batch (from 0), as float16 does with values that are too large."""

    def __init__(self, batch: int = 0, rank: int = 0) -> None:
        super().__init__()
        self.batch, self.rank = batch, rank

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.batch and trainer.global_rank == self.rank:
            weight = next(p for name, p in pl_module.named_parameters() if p.requires_grad and "lora_B" in name)
            handle = weight.register_hook(lambda gradient: (handle.remove(), gradient * float("inf"))[1])


class Poison(Callback):
    """Put a NaN into the trained weights after a step (from 1), as a diverged update would."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.step:
            next(p for name, p in pl_module.named_parameters() if p.requires_grad).data[0, 0] = float("nan")


class SaveAt(Callback):
    """Save ``folder/HOOK-STEP.ckpt`` each time one of the hooks is called."""

    def __init__(self, folder: str, hooks: list[str]) -> None:
        super().__init__()
        self.folder = Path(folder)
        for hook in hooks:
            setattr(self, hook, partial(self._save, hook))

    def _save(self, hook: str, trainer: Trainer, *_: Any, **__: Any) -> None:
        trainer.save_checkpoint(self.folder / f"{hook}-{trainer.global_step}.ckpt")


class Reader(Callback):
    """User's callback that uses the completions."""

    def on_test_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, *_: Any, **__: Any) -> None:
        """Read the completions."""


class Watcher(Callback):
    """User's callback that logs a metric known only to itself."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any, **__: Any) -> None:
        pl_module.log("mine/number", float(trainer.global_step))


class Length(RowMetric):
    """User's metric without a formula: length of the prediction relative to the reference."""

    @property
    def signature(self) -> str:
        """Name alone."""
        return "length"

    def rows(self, predictions: list[str], references: list[str]) -> Tensor:
        """Lengths of both, ``(texts, 2)`` float64."""
        pairs = zip(predictions, references, strict=True)
        return torch.tensor([[len(p), len(r)] for p, r in pairs], dtype=torch.float64)

    def from_total(self, total: Tensor, n: int) -> float:
        """Relative length."""
        return float(total[0] / total[1])


class OwnEvaluation(Evaluation):
    """User's evaluation, with a metric of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics["length"] = Length()


class Dice(Reward):
    """User's reward that draws from Python's global generator."""

    def score(self, *, completions: list[str], **columns: list[str]) -> list[float]:
        """A draw per completion."""
        return [random.random() for _ in completions]


class Complaint(Callback):
    """User's callback that prints to stderr after each step."""

    def on_train_batch_end(self, *_: object, **__: object) -> None:
        """Print a line."""
        print("a complaint", file=sys.stderr)


class Quiz(Probe):
    """User's probe: three questions, two of them with the same id."""

    def __init__(self, name: str = "quiz") -> None:
        super().__init__()
        self.name = name

    def measure(self, policy: Policy) -> Measurement:
        """Right, wrong, right."""
        rows = [("1", 1.0, "甲"), ("1", 0.0, "乙"), ("2", 1.0, None)]
        items = [Item(self.name, place, {self.name: [right]}, text) for place, right, text in rows]
        return Measurement({self.name: score_items(items, self.name, "mean", "quiz")}, items)


class ForgetRollouts(Callback):
    """Take the drafts of all rows from a run with ``reuse_rollouts``, before each step."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        pl_module.reuse = type(pl_module.reuse)(pl_module.seed)
