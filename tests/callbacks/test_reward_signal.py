"""A start that earns too little of a reward ends the run; one batch alone decides nothing."""

from __future__ import annotations

import sys

import pytest
from helpers.small_runs import Runs

# The first call is the first batch, of 4 completions; all later ones earn 0.5.
FUNCTIONS = """
calls = 0
def later(completions, **columns):
    global calls
    calls += 1
    return [0.0 if calls == 1 else 0.5] * len(completions)
"""
REWARD = {"class_path": "FunctionReward", "init_args": {"function": "signal_functions.later"}}


def signal(**limits: float) -> list[dict[str, object]]:
    given = {"reward": "later", "min_mean": 0.3, "max_zeros": 0.3, **limits}
    return [REWARD, {"class_path": "RewardSignal", "init_args": given}]


@pytest.fixture(autouse=True)
def functions(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    (runs.folder / "signal_functions.py").write_text(FUNCTIONS, encoding="utf-8")
    monkeypatch.syspath_prepend(str(runs.folder))
    monkeypatch.delitem(sys.modules, "signal_functions", raising=False)


def test_the_first_batches_count_together(runs: Runs) -> None:
    runs("fit", "grpo", "run", "trainer.max_steps=5", callbacks=signal(batches=4))  # 0.375 in the mean, a quarter zero
    assert (runs.folder / "run" / "adapter").is_dir()


@pytest.mark.parametrize(
    ("batches", "steps", "said"),
    [
        (1, 5, r"over 4 completions is 0\.00 .*, and 100 % are zero"),
        (2, 5, r"over 8 completions is 0\.25 .*, and 50 % are zero"),
        (8, 2, r"over 8 completions is 0\.25 .*, and 50 % are zero"),  # a run of 2 steps has no more
    ],
)
def test_too_little_of_a_reward_ends_the_run(runs: Runs, batches: int, steps: int, said: str) -> None:
    with pytest.raises(ValueError, match=f"RewardSignal: later is too weak .*{said}"):
        runs("fit", "grpo", "run", f"trainer.max_steps={steps}", callbacks=signal(batches=batches))
    assert not (runs.folder / "run" / "adapter").exists()


def test_several_steps_per_batch(runs: Runs) -> None:
    flags = ["trainer.max_steps=4", "model.init_args.num_iterations=2"]
    with pytest.raises(ValueError, match=r"over 8 completions is 0\.25 .*, and 50 % are zero"):
        runs("fit", "grpo", "run", *flags, callbacks=signal(batches=8))


@pytest.mark.parametrize("limit", ["max_epochs=1", "max_steps=8"])
def test_several_steps_per_batch_in_a_run_of_four_batches(runs: Runs, limit: str) -> None:
    """The batch of zeros is one of four, however the run is limited."""
    flags = [f"trainer.{limit}", "trainer.limit_train_batches=4", "model.init_args.num_iterations=2"]
    flags += ["trainer.max_steps=-1"] if limit == "max_epochs=1" else []
    runs("fit", "grpo", "run", *flags, callbacks=signal(batches=8))
    assert (runs.folder / "run" / "adapter").is_dir()


def test_a_resumed_run_counts_the_batches_before(runs: Runs) -> None:
    """The batch of zeros is one of those before the checkpoint."""
    callbacks = [*signal(batches=5, max_zeros=0.1), runs.checkpoints("run/all", 1)]
    with pytest.raises(ValueError, match="over 12 completions"):
        runs("fit", "grpo", "run", "trainer.max_steps=3", callbacks=callbacks)
    checkpoint = f"ckpt_path={runs.folder / 'run' / 'all' / 'step=2.ckpt'}"
    with pytest.raises(ValueError, match=r"over 20 completions is 0\.40 .*, and 20 % are zero"):
        runs("fit", "grpo", "run", "trainer.max_steps=5", checkpoint, callbacks=callbacks)
