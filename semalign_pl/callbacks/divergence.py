"""Warnings about a run that trains nothing or diverges, and errors that stop a run without finite numbers."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT

from semalign_pl.finite import Diverged, check_to_write, divergence_error

log = logging.getLogger(__name__)

WINDOW = 5
"""Number of consecutive steps that a warning needs: with a gradient of exactly 0, or with a mean loss far above the
first step's."""
LOSS_RISE = 1.0
"""Rise of the loss over the first step's, in nats, that causes a warning: a perplexity e times that of the untrained
policy. Batches differ by less, because WINDOW of them are averaged."""
UNSCORED_STEPS = 20
"""Number of steps without any score of any reward, from the beginning of the run, after which it stops."""


class Divergence(Callback):
    """Warn about a run that trains nothing or diverges, once per kind, and stop it if its loss is not finite.

    There is a warning about a step in which no reward scored any completion, a step in which all groups had equal
    rewards, a gradient norm of exactly 0 in ``WINDOW`` steps, and a loss ``LOSS_RISE`` above the first step's. A loss
    that is not finite stops the run. So do rewards that have scored nothing at all, after ``UNSCORED_STEPS`` steps or
    at the end. ``rewards/run_rewards.py`` watches single rewards for a missing signal, and RewardWatch watches for
    exploited rewards.
    """

    def __init__(self) -> None:
        super().__init__()
        self._first_loss: float | None = None
        self._losses: deque[float] = deque(maxlen=WINDOW)
        self._zero_gradients = 0
        self._unscored: int | None = 0  # steps so far without any score; None after the first score
        self._warned: set[str] = set()

    def state_dict(self) -> dict[str, object]:
        """State of the checks, so that a resumed run warns like an uninterrupted one."""
        return {
            "first_loss": self._first_loss,
            "losses": list(self._losses),
            "zero_gradients": self._zero_gradients,
            "unscored": self._unscored,
            "warned": sorted(self._warned),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of the checks."""
        self._first_loss, self._unscored = state_dict["first_loss"], state_dict["unscored"]
        self._losses = deque(state_dict["losses"], maxlen=WINDOW)
        self._zero_gradients, self._warned = state_dict["zero_gradients"], set(state_dict["warned"])

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Check the step's metrics, which are the same on all ranks.

        Raises:
            ValueError: If the loss is not finite, or no reward has scored anything for ``UNSCORED_STEPS`` steps.
        """
        logged, step = trainer.callback_metrics, trainer.global_step
        skipped = float(logged.get("train/step_skipped", 0.0)) == 1.0  # float16 overflowed
        if "train/loss" in logged and not skipped:
            self._check_loss(float(logged["train/loss"]), trainer)
        if "train/grad_norm" in logged and not skipped:
            self._zero_gradients = self._zero_gradients + 1 if float(logged["train/grad_norm"]) == 0.0 else 0
            if self._zero_gradients >= WINDOW:
                self._warn(
                    trainer,
                    "gradient",
                    f"step {step}: the gradient norm was exactly 0 in the last {WINDOW} steps, so nothing is trained; "
                    "the policy may have saturated (lower the learning rate), or no row has a loss (look at "
                    "train/rows_too_long and at the rewards in metrics.csv)",
                )
        if isinstance(outputs, Mapping) and "rewards" in outputs and _any_completion(outputs["rewards"], trainer):
            self._check_rewards(outputs["rewards"], trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise an error if the run is no success, on all ranks alike and before anything is exported.

        Raises:
            ValueError: If the weights are not finite, or no reward has ever scored anything.
        """
        check_to_write(pl_module.state_dict(), f"{trainer.default_root_dir}: what was trained")
        if self._unscored:
            raise _nothing_scored(self._unscored)

    def _check_loss(self, loss: float, trainer: Trainer) -> None:
        step = trainer.global_step
        if not math.isfinite(loss):
            raise divergence_error("the loss", loss, step, trainer.optimizers[0].param_groups[0]["lr"])
        self._losses.append(loss)
        if self._first_loss is None:
            self._first_loss = loss
        mean = sum(self._losses) / len(self._losses)
        if len(self._losses) == WINDOW and mean > self._first_loss + LOSS_RISE:
            self._warn(
                trainer,
                "loss",
                f"step {step}: the loss is {mean:.4g}, the mean of {WINDOW} steps, and was {self._first_loss:.4g} in "
                "the first one, so the run diverges; lower model.init_args.optimizer.init_args.lr or give the schedule "
                "warmup_steps",
            )

    def _check_rewards(self, rewards: torch.Tensor, trainer: Trainer) -> None:
        step = trainer.global_step
        scored = trainer.strategy.reduce((~rewards.isnan()).sum().float(), reduce_op="sum")
        if not float(scored):
            self._warn(
                trainer,
                "unscored",
                f"step {step}: no reward scored any of the {len(rewards)} completions (each gave None or NaN), so the "
                "step taught nothing; check what the rewards return, and that the corpus has the columns they need",
            )
            if self._unscored is not None:
                self._unscored += 1
                if self._unscored >= UNSCORED_STEPS:
                    raise _nothing_scored(self._unscored)
            return
        self._unscored = None
        if float(trainer.callback_metrics.get("train/groups_without_signal", 0.0)) == 1.0:
            mean = float(trainer.callback_metrics["train/reward"])
            self._warn(
                trainer,
                "equal",
                f"step {step}: the completions of every prompt had equal rewards (mean {mean:.4g}), so the step taught "
                "nothing; should it go on, see train/groups_without_signal and completions.jsonl (SampleTable), and "
                "raise model.init_args.num_generations or temperature, or lower a threshold such as tau",
            )

    def _warn(self, trainer: Trainer, kind: str, message: str) -> None:
        if kind not in self._warned and trainer.is_global_zero:
            log.warning(message)
        self._warned.add(kind)


def _nothing_scored(steps: int) -> Diverged:
    return Diverged(
        f"trainer.callbacks: no reward scored any completion in the run's {steps} steps, so nothing was trained and "
        "nothing is exported; check what the rewards return (None and NaN mean not scored), and that the corpus has "
        "the columns they need"
    )


def _any_completion(rewards: torch.Tensor, trainer: Trainer) -> bool:
    """Return false if no rank has sampled a completion, because all rows of the step are replayed."""
    count = trainer.strategy.reduce(torch.tensor(float(len(rewards)), device=rewards.device), reduce_op="sum")
    return float(count) > 0
