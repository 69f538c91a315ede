"""An interrupted study resumes in the middle of a training; a changed one trains again, and keeps the old folder."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.small_runs import Runs, assert_same, weights

from semalign_pl.__main__ import main
from semalign_pl.run.lock import hold


@pytest.fixture
def study(runs: Runs) -> dict[str, Any]:
    """Study of one system, whose training is killed once, in its third step; ``args`` runs it into a folder."""
    configs = runs.folder / "configs"
    configs.mkdir()
    strike = {"step": 3, "signal_name": "SIGKILL", "hook": "on_train_batch_start", "dirpath": str(runs.folder)}
    callbacks = [
        {"class_path": "TimedCheckpoint", "init_args": {"minutes": 0}},
        {"class_path": "helpers.run_callbacks.Strike", "init_args": strike},
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
    """First half done, then finished: the earlier folder is kept complete, and a message says so."""
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


def test_a_finished_training_whose_result_changed_is_trained_again(
    study: dict[str, Any], runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    """The run's folder says that it is finished, which is what --resume would believe."""
    folder: Path = study["folder"]
    assert main(study["args"](runs.folder / "out")) == 0
    trained, facts = folder / "adapter" / "adapter_model.safetensors", folder / "adapter" / "training.json"
    right, told = trained.read_bytes(), facts.read_bytes()
    for file, changed in ((trained, right[:-4] + bytes(4)), (facts, told.replace(b'"sft"', b'"grpo"'))):
        file.write_bytes(changed)
        capfd.readouterr()
        assert main(study["args"](runs.folder / "out")) == 0
        assert f"{folder} holds an earlier run; it was moved to" in capfd.readouterr().out
        assert trained.read_bytes() == right, file.name
        assert json.loads(facts.read_text(encoding="utf-8"))["stage"] == "sft", file.name
