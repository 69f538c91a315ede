"""Runs whose rollouts are a server's, which is killed and started again."""

from __future__ import annotations

import pytest
from helpers.rollout_server import serving
from helpers.small_runs import Runs, weights


def test_a_killed_and_restarted_server_loses_no_step(
    runs: Runs, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAMPLER_KEY", "secret-of-the-server")
    with serving(runs.base, runs.folder, key="secret-of-the-server", faults=["503", "500", "cut"]) as server:
        rollouts = "model.init_args.rollouts"
        flags = [f"{rollouts}=semalign_pl.rollouts.ServerRollouts", f"{rollouts}.init_args.url={server.url}"]
        flags += [f"{rollouts}.init_args.key_variable=SAMPLER_KEY", "trainer.max_steps=4"]
        restart = {"class_path": "helpers.rollout_server.Restart", "init_args": {"url": server.url, "step": 2}}
        runs("fit", "grpo", "run", *flags, callbacks=[restart])
    rows = runs.metrics()
    assert [row["step"] for row in rows] == ["0", "1", "2", "3"]
    assert any(weight.any() for name, weight in weights(runs.folder / "run").items() if "lora_B" in name)
    # The server's transformers and PEFT compute what the policy computes, up to rounding, before and after each update.
    for row in rows:
        assert float(row["train/sampler_ratio"]) == pytest.approx(1, abs=1e-4)
        assert float(row["train/sampler_kl"]) == pytest.approx(0, abs=1e-4)
        assert float(row["train/sampler_truncated"]) == 0
    sent = [(line["path"], line["status"]) for line in server.log()]
    assert ("/v1/completions", 404) in sent, "the new process must have been asked with the name of its adapter"
    names = [line["body"]["lora_name"] for line in server.log() if line["path"].endswith("/load_lora_adapter")]
    assert len(set(names)) == 4, "each update has an adapter of its own"
    said = [record.message for record in caplog.records if record.message.startswith("rollouts: ")]
    kinds = ["answers again" in line for line in said]
    assert kinds == [False, True] * (len(kinds) // 2) and 2 <= len(kinds) // 2 <= 5, "an outage is told once"
    # Nothing of the key is written, and the adapters are gone.
    files = [path for path in (runs.folder / "run").rglob("*") if path.is_file()]
    assert files and not [path for path in files if b"secret-of-the-server" in path.read_bytes()]
    assert not (runs.folder / "run" / "server_adapters").exists()
