"""A study that was broken off goes on in the middle of a training; one that changed starts it anew, beside the old."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_runs import Runs, assert_same, weights

from semalign_pl.__main__ import main
from semalign_pl.run.lock import hold


@pytest.fixture
def study(runs: Runs) -> dict[str, Any]:
    """A study of one system, whose training is killed in its third step, once; ``args`` runs it, into a folder."""
    configs = runs.folder / "configs"
    configs.mkdir()
    strike = {"step": 3, "signal_name": "SIGKILL", "hook": "on_train_batch_start", "dirpath": str(runs.folder)}
    callbacks = [
        {"class_path": "TimedCheckpoint", "init_args": {"minutes": 0}},
        {"class_path": "run_callbacks.Strike", "init_args": strike},
        {"class_path": "Evaluation"},
    ]
    recipe = runs.recipe("sft", callbacks)
    recipe["trainer"]["max_steps"] = 4
    recipe["data"]["init_args"]["eval_limit"] = 2
    recipe["model"]["init_args"]["max_new_tokens"] = 48
    config = configs / "cold.yaml"
    config.write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    (configs / "study.yaml").write_text("cold: {from: base}\n", encoding="utf-8")

    def args(out: Path) -> list[str]:
        return ["study", "--config", str(configs), "--out", str(out)]

    [(code, log)] = runs.processes(args(runs.folder / "out"))
    assert code == -signal.SIGKILL and (runs.folder / "struck").exists(), log
    return {"config": config, "args": args, "folder": runs.folder / "out" / "seed-0" / "cold"}


def test_a_half_done_training_goes_on(study: dict[str, Any], runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert main(study["args"](runs.folder / "out")) == 0
    answer = capfd.readouterr().out
    assert f"--resume: going on from {study['folder'] / 'checkpoints' / 'last.ckpt'} at step 2" in answer
    assert main(study["args"](runs.folder / "straight")) == 0
    assert_same(weights(study["folder"]), weights(runs.folder / "straight" / "seed-0" / "cold"))


def test_a_changed_training_begins_anew_beside_the_old(
    study: dict[str, Any], runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    """Half done first, then finished: the earlier folder is kept whole, and said."""
    folder: Path = study["folder"]
    changed = yaml.safe_load(study["config"].read_text(encoding="utf-8"))
    study["config"].write_text(yaml.safe_dump(changed | {"seed_everything": 4}), encoding="utf-8")
    with hold(folder, "fit"):
        assert main(study["args"](runs.folder / "out")) == 2, "it is not moved from under a running training"
    assert (folder / "checkpoints" / "last.ckpt").exists()

    for number, (key, value) in enumerate([("max_steps", 1), ("max_steps", 2)], 1):
        before = {path.name: path.read_bytes() for path in (folder / "checkpoints").iterdir()}
        recipe = yaml.safe_load(study["config"].read_text(encoding="utf-8"))
        recipe["trainer"][key] = value
        study["config"].write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
        capfd.readouterr()
        assert main(study["args"](runs.folder / "out")) == 0
        earlier = folder.with_name(f"cold.earlier-{number}")
        assert f"{folder} holds an earlier run; it was moved to {earlier}" in capfd.readouterr().out
        assert {path.name: path.read_bytes() for path in (earlier / "checkpoints").iterdir()} == before
        assert json.loads((folder / "adapter" / "training.json").read_text(encoding="utf-8"))["steps"] == value
