"""A run that is killed or interrupted, and then resumed, ends bit for bit like an uninterrupted one."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import Runs, assert_same, weights

STEPS, HALF = 10, 5
# Four batches per epoch: step 5 is in the second epoch, and step 10 in the middle of the third.
EPOCH = {"sft": ["data.init_args.batch_size=6", "data.init_args.limit=24"], "grpo": ["data.init_args.limit=8"]}
HOOKS = ["on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end"]


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


@pytest.fixture(scope="module")
def straight(base: str, encoder: str, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folder of the uninterrupted run of a stage with options, with its checkpoints; trained when first asked for."""

    @cache
    def train(stage: str, *options: str) -> Path:
        runs = Runs(tmp_path_factory.mktemp("straight"), base, encoder, corpus)
        runs("fit", stage, "run", *flags(stage, *options), callbacks=[runs.checkpoints("run", HALF)])
        return runs.folder / "run"

    return train


@pytest.mark.parametrize("options", [[], ["trainer.max_epochs=3"]], ids=["steps", "epochs"])
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_killed_and_resumed_equals_straight(
    runs: Runs, straight: Callable[..., Path], stage: str, options: list[str]
) -> None:
    whole = straight(stage, *options)

    killed = [runs.checkpoints("resumed", HALF), strike(7, "SIGKILL")]
    [(code, log)] = runs.processes(runs.args("fit", stage, "resumed", *flags(stage, *options), callbacks=killed))
    assert code == -signal.SIGKILL, log
    assert not (runs.folder / "resumed" / "adapter").exists()

    half = runs.folder / "resumed" / f"step={HALF}.ckpt"
    assert_same(state(half), state(whole / f"step={HALF}.ckpt"))
    going_on = flags(stage, *options, f"ckpt_path={half}")
    runs("fit", stage, "resumed", *going_on, callbacks=[runs.checkpoints("resumed", HALF)])
    assert_same(weights(runs.folder / "resumed"), weights(whole))
    last = f"step={STEPS}.ckpt"
    assert_same(state(runs.folder / "resumed" / last), state(whole / last))


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_interrupted_and_resumed_equals_straight(runs: Runs, straight: Callable[..., Path], stage: str) -> None:
    for hook in HOOKS:
        interrupted = runs.args("fit", stage, hook, *flags(stage), callbacks=[strike(6, "SIGINT", hook)])
        [(code, log)] = runs.processes(interrupted)
        assert code != 0 and "Traceback" not in log
        saved = runs.folder / hook / "checkpoints" / "interrupted.ckpt"
        assert f"interrupted at step 6; go on with --ckpt_path {saved}" in log
        runs("fit", stage, hook, *flags(stage, f"ckpt_path={saved}"))
        assert_same(weights(runs.folder / hook), weights(straight(stage)), hook)


def test_several_updates_a_batch(runs: Runs) -> None:
    """An interruption between two updates on the same rollouts waits for the second update."""
    options = flags("grpo", "model.init_args.num_iterations=2")
    runs("fit", "grpo", "straight", *options)
    interrupted = [strike(6, "SIGINT", "on_before_optimizer_step")]
    runs.processes(runs.args("fit", "grpo", "resumed", *options, callbacks=interrupted))
    saved = runs.folder / "resumed" / "checkpoints" / "interrupted.ckpt"
    assert torch.load(saved, weights_only=True)["global_step"] == 6
    runs("fit", "grpo", "resumed", *options, f"ckpt_path={saved}")
    assert_same(weights(runs.folder / "resumed"), weights(runs.folder / "straight"))
