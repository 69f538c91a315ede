"""Checks of a checkpoint that a stage is to resume exactly, and the place at which it resumes."""

from __future__ import annotations

import logging
from typing import Any

from semalign_pl.finite import check_finite
from semalign_pl.modules.run_place import Place, read_place, set_place
from semalign_pl.modules.settings import Settings, compare_settings

log = logging.getLogger(__name__)

Checkpoint = dict[str, Any]
"""Content of a checkpoint by Lightning's keys; ours are under ``semalign``."""


def check_stage(checkpoint: Checkpoint, path: str, stage: str, resume_hint: str) -> None:
    """Refuse a checkpoint of another stage, or with NaN weights.

    Args:
        checkpoint: Content of the checkpoint.
        path: Path of the checkpoint, for messages.
        stage: Stage of the run.
        resume_hint: Sentence that says how to start from another stage's result.

    Raises:
        ValueError: Names the fault and the remedy.
    """
    saved = checkpoint.get("semalign", {"stage": "unknown"})
    if saved["stage"] != stage:
        raise ValueError(
            f"--ckpt_path: this is a checkpoint of stage {saved['stage']!r}, and the run is stage {stage!r}; "
            f"--ckpt_path resumes the same stage. {resume_hint}"
        )
    check_finite(
        checkpoint["state_dict"], f"--ckpt_path: {path} holds", "its run had diverged; give an earlier checkpoint"
    )


def compare_with_run(checkpoint: Checkpoint, settings: Settings, resume_hint: str) -> Settings:
    """Compare the settings of a checkpoint with those of the run that resumes from it.

    Args:
        checkpoint: Content of the checkpoint.
        settings: Settings of the run.
        resume_hint: Sentence that says how to start a new run from the trained result.

    Returns:
        Settings of the checkpoint's optimiser and schedule, to be compared once those of the run are built.

    Raises:
        ValueError: If a setting differs that a resumed run cannot change.
    """
    saved = checkpoint["semalign"]
    if "settings" not in saved:
        log.warning("--ckpt_path: an earlier version wrote this checkpoint; its settings cannot be compared with these")
    for change in compare_settings(saved.get("settings", {}), settings, resume_hint):
        log.warning("--ckpt_path: %s; the learning-rate schedule is that of the new length from here on", change)
    return saved.get("built", {})


def resume_place(checkpoint: Checkpoint) -> Place:
    """Read the place at which a checkpoint was written, and let Lightning resume exactly there.

    Args:
        checkpoint: Content of the checkpoint; the counters of its loops are changed in place.

    Raises:
        ValueError: If it was written between two optimiser steps of one batch.
    """
    fit_loop = checkpoint["loops"]["fit_loop"]
    place = read_place(fit_loop)
    if place.broken_off and checkpoint["semalign"].get("steps_in_batch"):
        raise ValueError(
            "--ckpt_path: this checkpoint was written within a batch, after some of its optimiser steps, so the run "
            "cannot go on from it exactly; give an earlier one"
        )
    set_place(fit_loop, place)
    return place
