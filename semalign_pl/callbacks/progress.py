"""Progress of a command: one line that changes on a terminal, a few plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import STEP_OUTPUT
from rich.live import Live
from torch import Tensor

from semalign_pl.messages.console import Console, Text
from semalign_pl.messages.page import format_seconds
from semalign_pl.messages.terminal import visible
from semalign_pl.probes.base import Probe
from semalign_pl.run.trainer import callbacks_of, count_steps

LINES = 20
"""Number of plain lines per run, spread evenly over its steps, besides that of the first step."""
QUIET_SECONDS = 600.0
"""Seconds after which a plain line is printed at the next step, due or not."""
QUIET_BATCHES_SECONDS = 30.0
"""Seconds after which a test, validation or prediction prints a plain line at its next batch."""
REFRESH_SECONDS = 0.1
"""Minimum number of seconds between two changes of the line on a terminal."""
_VALUES = ("train/reward", "train/kl", "train/loss", "train/kl_to_reference", "train/kl_to_base", "val/loss")
"""Names of the values to show, of which the first two that are logged are."""
_REWARD = "train/reward/"


class Progress(ProgressBar):
    """Show the step, the time left, two values and the mean of each reward.

    On a terminal this is one line, such as ``step 8/150  12 min left  reward 1.23  kl 0.012  semantic 0.61``,
    which changes in place and is cut at the terminal's width. Elsewhere it is printed for the first step and then about
    20 times per run, and in long runs at least every 10 minutes; a test prints its batch every 30 seconds. The time
    left includes validations so far.

    ``trainer.enable_progress_bar: false`` turns it off, and a progress bar in ``trainer.callbacks`` replaces it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._console = Console()
        self._live: Live | None = None
        self._shown = 0.0  # time of the last change or line
        self._began = 0.0
        self._began_at = 0  # optimiser step at which this process began
        self._line = ""

    def disable(self) -> None:
        """Show nothing; Lightning calls this on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show progress again."""
        self._enabled = True

    # -- training ----------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._began, self._began_at = time.monotonic(), trainer.global_step
        self._start(transient=False)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Show the step that has ended."""
        if not self._enabled:
            return
        step, total = trainer.global_step, count_steps(trainer, pl_module)
        done, seconds = step - self._began_at, time.monotonic() - self._began
        last = total is not None and step >= total
        clock = []
        if last:
            clock = [f"took {format_seconds(seconds)}"]
        elif total is not None and done > 0:
            clock = [f"{format_seconds(seconds / done * (total - step))} left"]
        values = choose_values({**trainer.progress_bar_metrics, **trainer.callback_metrics})
        self._line = "  ".join([f"step {step}" if total is None else f"step {step}/{total}", *clock, *values])
        if self._live is not None:
            self._show(self._line, now=last)
        elif is_due(step, done, total) or time.monotonic() - self._shown > QUIET_SECONDS:
            self._shown = time.monotonic()
            print(visible(self._line), flush=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the last line on the terminal."""
        self._stop()

    # -- validation, test and prediction -----------------------------------------------------------------------

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show that validation has begun."""
        self._begin(trainer)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the batch that has ended."""
        self._count("validation", batch_idx, trainer.num_val_batches, dataloader_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the step again, or nothing after ``validate``."""
        self._end(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show that the test has begun; probes measure before its first batch."""
        self._begin(trainer)
        if self._live is not None:
            self._show("test  probes measure", now=True)
        elif self._enabled and any(isinstance(callback, Probe) for callback in callbacks_of(trainer)):
            print("test  probes measure", flush=True)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the batch that has ended."""
        self._count("test", batch_idx, trainer.num_test_batches, dataloader_idx)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the line, before scores are printed."""
        self._end(trainer)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show that prediction has begun."""
        self._begin(trainer)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Show the batch that has ended."""
        self._count("prediction", batch_idx, trainer.num_predict_batches, dataloader_idx)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the line."""
        self._end(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        self._stop()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the terminal as it was."""
        self._stop()

    def _begin(self, trainer: Trainer) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            self._began = time.monotonic()
            self._start(transient=True)

    def _count(self, name: str, batch_idx: int, batches: list[int | float] | list[int], loader: int) -> None:
        total = batches[loader] if loader < len(batches) else math.inf
        text = f"{name} {batch_idx + 1}" + (f"/{total}" if math.isfinite(total) else "")
        if self._live is not None:
            self._show(f"{self._line}  {text}" if self._line else text)
        elif self._enabled and not self._line and time.monotonic() - self._shown > QUIET_BATCHES_SECONDS:
            self._shown = time.monotonic()
            print(text, flush=True)

    def _end(self, trainer: Trainer) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._show(self._line, now=True)
        else:
            self._stop()

    # -- the line ----------------------------------------------------------------------------------------------

    def _start(self, transient: bool) -> None:
        self._stop()
        self._line = ""
        self._shown = time.monotonic()
        if self._enabled and self._console.is_terminal and not self._console.is_dumb_terminal:
            # No thread of its own: the line changes when a batch ends. While it is shown, print writes above it, but
            # not what the user sends elsewhere, as with 2> errors.txt.
            above = sys.stderr.isatty()
            self._live = Live(console=self._console, auto_refresh=False, transient=transient, redirect_stderr=above)
            self._live.start()

    def _show(self, line: str, now: bool = False) -> None:
        if self._live is not None and (now or time.monotonic() - self._shown > REFRESH_SECONDS):
            self._shown = time.monotonic()
            text = Text(line)
            text.truncate(self._console.width, overflow="ellipsis")
            self._live.update(text, refresh=True)

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def choose_values(logged: Mapping[str, float | Tensor]) -> list[str]:
    """Values to show: two of the run, such as ``reward 1.231``, then the mean of each reward by its name.

    Args:
        logged: Logged values by name.

    >>> choose_values({"train/kl": 0.0123, "train/reward": 1.5, "train/loss": 0.1, "train/reward/semantic": 0.614})
    ['reward 1.50', 'kl 0.012', 'semantic 0.61']
    >>> choose_values({"train/loss": 2.0}), choose_values({"accuracy": 0.5, "train/x": 1.0})
    (['loss 2.00'], ['accuracy 0.500', 'x 1.00'])
    """
    values = {name: float(value) for name, value in logged.items()}
    rewards = {name: value for name, value in values.items() if name.startswith(_REWARD)}
    chosen = [name for name in _VALUES if name in values] or [name for name in values if name not in rewards]
    shown = [f"{short_name(name)} {values[name]:.{2 if abs(values[name]) >= 1 else 3}f}" for name in chosen[:2]]
    return shown + [f"{name.removeprefix(_REWARD)} {value:.2f}" for name, value in rewards.items()]


def short_name(name: str) -> str:
    """Name of a logged value as it is shown: without ``train/``, in words.

    Args:
        name: Name in the log.

    >>> short_name("train/kl_to_base"), short_name("val/loss"), short_name("accuracy")
    ('kl to base', 'val loss', 'accuracy')
    """
    return name.removeprefix("train/").replace("/", " ").replace("_", " ")


def is_due(step: int, done: int, total: int | None) -> bool:
    """Return true if a plain line is due after a step.

    Args:
        step: Number of optimiser steps of the run so far.
        done: Number of those that this process made.
        total: Number of optimiser steps of the run; ``None`` if it is not known.

    >>> [step for step in range(1, 151) if is_due(step, step, 150)][:4], is_due(150, 150, 150)
    ([1, 8, 16, 24], True)
    """
    every = 100 if total is None else max(1, -(-total // LINES))
    return done <= 1 or step % every == 0 or step == total
