"""Callbacks that print on the screen, added to every run of the command line unless its recipe says otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning.pytorch.callbacks import Callback, ProgressBar

from semalign_pl.callbacks.pre_run import PreRunPage
from semalign_pl.callbacks.progress import Progress
from semalign_pl.callbacks.summary import RunSummary
from semalign_pl.callbacks.validation_scores import ValidationScores


def with_screen(callbacks: Sequence[Callback], trainer: Mapping[str, object]) -> list[Callback]:
    """Callbacks of a run, with those that print.

    Lightning's own flags turn them off: ``enable_model_summary: false`` page, scores and summary;
    ``enable_progress_bar: false`` the progress. A callback of the same kind in the recipe replaces each, and any
    progress bar replaces ours.

    Args:
        callbacks: Callbacks of the recipe.
        trainer: Settings of the recipe's ``trainer`` section.

    Returns:
        All callbacks, added ones last.
    """
    added: list[Callback] = []
    if trainer.get("enable_model_summary") is not False:
        added += [kind() for kind in (PreRunPage, ValidationScores, RunSummary) if not _lists(callbacks, kind)]
    if trainer.get("enable_progress_bar") is not False and not _lists(callbacks, ProgressBar):
        added.append(Progress())
    return [*callbacks, *added]


def _lists(callbacks: Sequence[Callback], kind: type[Callback]) -> bool:
    return any(isinstance(callback, kind) for callback in callbacks)
