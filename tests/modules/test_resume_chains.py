"""Two epochs, resumed from every step, and resumed again: equal to an uninterrupted run, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import Runs, assert_same

from semalign_pl.cli import main

BATCHES = 3  # per epoch
STEPS = 2 * BATCHES
HOOKS = [
    "on_train_batch_start",
    "on_train_batch_end",
    "on_validation_start",
    "on_validation_batch_end",
    "on_validation_end",
    "on_train_epoch_end",
    "on_train_epoch_start",
    "on_before_optimizer_step",
]
NEGATIVES = {"hard_negatives": 1, "hard_negative_margin": 0.0}


def recipe(runs: Runs, stage: str, by: str, callbacks: list[dict[str, Any]]) -> dict[str, Any]:
    """Two epochs of three batches, with a validation at the end of each epoch."""
    made = runs.recipe("grpo" if stage == "grpo" else "sft", callbacks)
    data, model = made["data"]["init_args"], made["model"]["init_args"]
    data |= {"limit": 6, "batch_size": 2, "validation": data["test"], "eval_limit": 2}
    model["max_new_tokens"] = {"grpo": 4}.get(stage, 40)
    if stage == "embedder":
        made["model"] = {
            "class_path": "EmbedderModule",
            "init_args": {"base": runs.encoder, "optimizer": model["optimizer"], **NEGATIVES},
        }
        data |= {"limit": 12, "batch_size": 4}
    made["trainer"] |= {"max_steps": STEPS} if by == "steps" else {"max_steps": -1, "max_epochs": 2}
    return made


def fit(runs: Runs, stage: str, by: str, name: str, *flags: str, callbacks: Sequence[dict[str, Any]] = ()) -> Any:
    """Run that keeps a checkpoint of every step, as soon as it is written."""
    made = recipe(runs, stage, by, [*callbacks, runs.checkpoints(name, 1)])
    path = runs.write(made, name)
    return main(["fit", "--config", str(path), f"--trainer.default_root_dir={runs.folder / name}", *flags])


def state(path: Path) -> dict[str, Any]:
    """All entries of a checkpoint on which training depends."""
    saved = torch.load(path, weights_only=True)
    del saved["callbacks"]  # file paths of checkpoints
    del saved["loops"]["fit_loop"]["state_dict"]["combined_loader"]  # the data module's own position is used instead
    return saved


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "by"), [("sft", "steps"), ("grpo", "epochs"), ("grpo", "steps"), ("embedder", "epochs")]
)
def test_every_chain_of_two_resumes_equals_the_straight_run(runs: Runs, stage: str, by: str) -> None:
    """Each run is resumed from the run before it, one step later; the tests below have the other stages and limits."""
    straight = fit(runs, stage, by, "straight")
    assert straight.trainer.global_step == STEPS
    check_chain(runs, stage, by, range(1, STEPS + 1), straight.model)


@pytest.mark.parametrize("by", ["epochs", "steps"])
def test_the_end_of_an_epoch_is_resumed_twice(runs: Runs, by: str) -> None:
    check_chain(runs, "sft", by, range(BATCHES, BATCHES + 2), fit(runs, "sft", by, "straight").model)


def check_chain(runs: Runs, stage: str, by: str, chain: Sequence[int], straight: Any) -> None:
    """Resume the straight run at the first step, and the run resumed last at each further one."""
    before = "straight"
    for step in chain:
        name, saved = f"from{step}", runs.folder / before / f"step={step}.ckpt"
        resumed = fit(runs, stage, by, name, f"--ckpt_path={saved}")
        assert resumed.trainer.global_step == STEPS
        assert_same(dict(resumed.model.state_dict()), dict(straight.state_dict()), name)
        for later in range(step + 1, STEPS + 1):
            here, there = (state(runs.folder / folder / f"step={later}.ckpt") for folder in (name, "straight"))
            assert_same(here, there, f"{name}, step {later}")
        before = name


@pytest.mark.slow
@pytest.mark.parametrize("by", ["epochs", "steps"])
def test_what_is_saved_at_any_hook_around_an_epochs_end(runs: Runs, by: str) -> None:
    """The state and the rest of the epoch equal those of the uninterrupted run, or the checkpoint is refused."""
    saved = runs.folder / "saved"
    init = {"folder": str(saved), "hooks": HOOKS}
    straight = fit(
        runs, "embedder", by, "straight", callbacks=[{"class_path": "helpers.run_callbacks.SaveAt", "init_args": init}]
    )
    logged = [row["val/margin"] for row in runs.metrics("straight") if row["val/margin"]]
    assert len(logged) == 2
    for hook in HOOKS:
        name, path = f"from-{hook}", f"--ckpt_path={saved / f'{hook}-{BATCHES}.ckpt'}"
        if hook == "on_before_optimizer_step":
            with pytest.raises(ValueError, match="within a batch, after some of its optimiser steps.*an earlier one"):
                fit(runs, "embedder", by, name, path)
            continue
        resumed = fit(runs, "embedder", by, name, path)
        assert resumed.trainer.global_step == STEPS and resumed.trainer.current_epoch == straight.trainer.current_epoch
        assert_same(dict(resumed.model.state_dict()), dict(straight.model.state_dict()), hook)
        over = hook not in HOOKS[1:4]  # the first validation is over
        assert [row["val/margin"] for row in runs.metrics(name) if row["val/margin"]] == logged[over:], hook
        for later in range(BATCHES + 1, STEPS + 1):
            here, there = (state(runs.folder / run / f"step={later}.ckpt") for run in (name, "straight"))
            assert_same(here, there, hook)


def test_a_checkpoint_from_between_two_updates_on_a_batch_is_refused(runs: Runs) -> None:
    """Its rollouts are lost. A checkpoint from before the first update is accepted: the batch is repeated."""
    flags = ["trainer.max_steps=4", "model.init_args.num_iterations=2"]
    init = {"folder": str(runs.folder / "saved"), "hooks": ["on_before_optimizer_step", "on_train_batch_start"]}
    straight = runs(
        "fit", "grpo", "straight", *flags, callbacks=[{"class_path": "helpers.run_callbacks.SaveAt", "init_args": init}]
    )
    with pytest.raises(ValueError, match="within a batch, after some of its optimiser steps"):
        runs("fit", "grpo", "resumed", *flags, f"ckpt_path={runs.folder / 'saved' / 'on_before_optimizer_step-3.ckpt'}")
    resumed = runs(
        "fit", "grpo", "resumed", *flags, f"ckpt_path={runs.folder / 'saved' / 'on_train_batch_start-2.ckpt'}"
    )
    assert resumed.trainer.global_step == 4
    assert_same(dict(resumed.model.state_dict()), dict(straight.model.state_dict()))
