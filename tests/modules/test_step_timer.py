"""Times of the phases add up to the time of the step."""

from __future__ import annotations

import time

import pytest
import torch

from semalign_pl.modules.step_timer import StepTimer


def test_shares_and_rates() -> None:
    timer = StepTimer(torch.device("cpu"))
    for seconds in (0.02, 0.04):
        with timer.phase("rollout"):
            time.sleep(seconds)
    with pytest.raises(KeyError), timer.phase("update"):
        time.sleep(0.02)
        raise KeyError
    timer.tokens["rollout"] = 600
    metrics = timer.metrics()
    assert metrics["time/rollout_seconds"] >= 0.06 and metrics["time/update_seconds"] >= 0.02
    assert metrics["time/rollout_share"] + metrics["time/update_share"] == pytest.approx(1)
    assert metrics["time/rollout_tokens_per_second"] == pytest.approx(600 / metrics["time/rollout_seconds"])
    assert "time/update_tokens_per_second" not in metrics


@pytest.mark.parametrize(
    ("stage", "phases"), [("sft", {"update"}), ("grpo", {"rollout", "reward", "reference", "update"})]
)
def test_every_step_of_a_run_says_where_its_time_went(runs, stage: str, phases: set[str]) -> None:
    started = time.perf_counter()
    runs("fit", stage, "run", "trainer.log_every_n_steps=1")
    elapsed = time.perf_counter() - started
    steps = [row for row in runs.metrics() if row.get("train/loss")]
    assert len(steps) == 3
    for row in steps:
        told = {name for name in row if name.startswith("train/time/") and row[name]}
        said = ("seconds", "share", "tokens_per_second")
        assert told == {f"train/time/{p}_{what}" for p in phases for what in said} | {"train/time/data_seconds"}
        assert sum(float(row[f"train/time/{p}_share"]) for p in phases) == pytest.approx(1, abs=1e-5)
        assert all(float(row[f"train/time/{p}_tokens_per_second"]) > 0 for p in phases)
    spent = sum(float(row[f"train/time/{p}_seconds"]) for row in steps for p in phases)
    assert 0 < spent < elapsed
