"""A run that is killed or interrupted, and then resumed, ends bit for bit like an uninterrupted one."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import Runs, assert_same, weights

STEPS = 20
# Seven batches per epoch: step 10 is in the middle of the second epoch, and step 20 in the third.
EPOCH = {"sft": ["data.init_args.batch_size=6"], "grpo": ["data.init_args.limit=14"]}


def flags(stage: str, *more: str) -> list[str]:
    return [f"trainer.max_steps={STEPS}", *EPOCH[stage], *more]


def strike(step: int, signal_name: str, hook: str = "on_train_batch_end") -> dict[str, Any]:
    return {
        "class_path": "helpers.run_callbacks.Strike",
        "init_args": {"step": step, "signal_name": signal_name, "hook": hook},
    }


def state(path: Path) -> dict[str, Any]:
    """Entries of a checkpoint on which training depends."""
    saved = torch.load(path, weights_only=True)
    return {key: saved[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "CorpusDataModule")}


@pytest.mark.parametrize("options", [[], ["trainer.max_epochs=3"]], ids=["steps", "epochs"])
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_killed_and_resumed_equals_straight(runs: Runs, stage: str, options: list[str]) -> None:
    runs("fit", stage, "straight", *flags(stage, *options), callbacks=[runs.checkpoints("straight", 10)])

    killed = [runs.checkpoints("resumed", 10), strike(13, "SIGKILL")]
    [(code, log)] = runs.processes(runs.args("fit", stage, "resumed", *flags(stage, *options), callbacks=killed))
    assert code == -signal.SIGKILL, log
    assert not (runs.folder / "resumed" / "adapter").exists()

    at_ten = runs.folder / "resumed" / "step=10.ckpt"
    assert_same(state(at_ten), state(runs.folder / "straight" / "step=10.ckpt"))
    going_on = flags(stage, *options, f"ckpt_path={at_ten}")
    runs("fit", stage, "resumed", *going_on, callbacks=[runs.checkpoints("resumed", 10)])
    assert_same(weights(runs.folder / "resumed"), weights(runs.folder / "straight"))
    assert_same(state(runs.folder / "resumed" / "step=20.ckpt"), state(runs.folder / "straight" / "step=20.ckpt"))


@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end"])
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_interrupted_and_resumed_equals_straight(runs: Runs, stage: str, hook: str) -> None:
    runs("fit", stage, "straight", *flags(stage))
    [(code, log)] = runs.processes(
        runs.args("fit", stage, "resumed", *flags(stage), callbacks=[strike(9, "SIGINT", hook)])
    )
    assert code != 0 and "Traceback" not in log
    saved = runs.folder / "resumed" / "checkpoints" / "interrupted.ckpt"
    assert f"interrupted at step 9; go on with --ckpt_path {saved}" in log
    runs("fit", stage, "resumed", *flags(stage, f"ckpt_path={saved}"))
    assert_same(weights(runs.folder / "resumed"), weights(runs.folder / "straight"))


def test_several_updates_a_batch(runs: Runs) -> None:
    """An interruption between two updates on the same rollouts waits for the second update."""
    options = flags("grpo", "model.init_args.num_iterations=2")
    runs("fit", "grpo", "straight", *options)
    interrupted = [strike(8, "SIGINT", "on_before_optimizer_step")]
    runs.processes(runs.args("fit", "grpo", "resumed", *options, callbacks=interrupted))
    saved = runs.folder / "resumed" / "checkpoints" / "interrupted.ckpt"
    assert torch.load(saved, weights_only=True)["global_step"] == 8
    runs("fit", "grpo", "resumed", *options, f"ckpt_path={saved}")
    assert_same(weights(runs.folder / "resumed"), weights(runs.folder / "straight"))
