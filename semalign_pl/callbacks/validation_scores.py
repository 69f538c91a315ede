"""Scores of a validation on screen."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from rich.table import Table

from semalign_pl.callbacks.progress import short_name
from semalign_pl.messages.console import Console
from semalign_pl.messages.page import WIDTH
from semalign_pl.messages.terminal import visible
from semalign_pl.types import MetricResult

CEILING = "_references"
"""End of the name of a score that the references themselves have, whatever the policy does."""


class ValidationScores(Callback):
    """Print the scores of validations and probes of a fit as lines, and those of ``validate`` and ``test`` as a table.

    The table replaces Lightning's own. That of a test has only the values that the module or a callback logged:
    ``Evaluation`` prints its own table, with intervals.
    """

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the scores; Lightning would print its table after this hook."""
        trainer.validate_loop.verbose = False
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        scores = _select_scores(trainer, "train/", "probe/", "watch/")
        if not scores:
            return
        if trainer.state.fn != TrainerFn.FITTING:
            _print_table(scores)
            return
        _print_line(f"validation after step {trainer.global_step}", scores)

    def on_probe_end(self, trainer: Trainer, pl_module: LightningModule, scores: dict[str, MetricResult]) -> None:
        """Print the scores of a probe that measures during training."""
        if trainer.is_global_zero:
            values = {name: score.value for name, score in scores.items()}
            _print_line(f"general ability after step {trainer.global_step}", values)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the logged scores; Lightning would print its table after this hook."""
        trainer.test_loop.verbose = False
        if trainer.is_global_zero and (scores := _select_scores(trainer)):
            _print_table(scores)


def is_score(name: str) -> bool:
    """Return false for a count of rows that validation leaves out, and for a score of the references themselves.

    Args:
        name: Name in the log.
    """
    return not name.endswith((CEILING, "/rows_too_long"))


def _select_scores(trainer: Trainer, *without: str) -> dict[str, float]:
    """Logged values by name, the loss first, without those whose names begin with one of the given texts."""
    values = trainer.callback_metrics.items()
    scores = {name: float(value) for name, value in values if not name.startswith(without)}
    shown = sorted((name for name in scores if is_score(name) or scores[name]), key=lambda name: name != "val/loss")
    return {name: scores[name] for name in shown if not name.endswith(CEILING)}


def _print_line(title: str, scores: Mapping[str, float]) -> None:
    shown = [f"{short_name(name.removeprefix('val/'))} {value:.4g}" for name, value in scores.items()]
    line = visible("  ".join([title, *shown]))
    print(textwrap.fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False), flush=True)


def _print_table(scores: dict[str, float]) -> None:
    table = Table("score", "value")
    for name, value in scores.items():
        table.add_row(name, f"{value:.4f}")
    Console().print(table)
