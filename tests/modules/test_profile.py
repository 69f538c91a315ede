"""Phases add up; what is logged accounts for the step."""

from __future__ import annotations

import time

import pytest
import torch

from semalign_pl.modules.profile import Profile


def test_shares_and_rates() -> None:
    profile = Profile(torch.device("cpu"))
    for seconds in (0.02, 0.04):
        with profile.phase("rollout"):
            time.sleep(seconds)
    with pytest.raises(KeyError), profile.phase("update"):
        time.sleep(0.02)
        raise KeyError
    profile.tokens["rollout"] = 600
    metrics = profile.metrics()
    assert metrics["time/rollout_seconds"] >= 0.06 and metrics["time/update_seconds"] >= 0.02
    assert metrics["time/rollout_share"] + metrics["time/update_share"] == pytest.approx(1)
    assert metrics["time/rollout_tokens_per_second"] == pytest.approx(600 / metrics["time/rollout_seconds"])
    assert "time/update_tokens_per_second" not in metrics
