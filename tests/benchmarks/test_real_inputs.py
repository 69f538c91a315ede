"""Encoders of benchmarks/real.py after interruptions: killed processes with real files of a few pairs."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.small_runs import finish, forked
from real_inputs import train_encoders

RECIPE = Path(__file__).parents[2] / "configs" / "real" / "encoder.yaml"


def write_recipe(folder: Path, corpus: Path, callbacks: list[dict[str, Any]], train: Path | None = None) -> Path:
    """Recipe of encoders in ``folder``, which train for four steps on the pairs of ``corpus`` or ``train``."""
    recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
    recipe["trainer"] |= {"accelerator": "cpu", "default_root_dir": str(folder / "reward"), "max_epochs": 1}
    recipe["trainer"] |= {"enable_progress_bar": False, "check_val_every_n_epoch": 1, "callbacks": callbacks}
    recipe["model"]["init_args"] |= {"base": str(folder / "untrained" / "reward"), "micro_batch": 16}
    data = {"train": str(train or corpus / "train.jsonl"), "batch_size": 10, "eval_batch_size": 4}
    data |= dict.fromkeys(("validation", "test"), str(corpus / "dev.jsonl"))
    task = {"class_path": "Translation", "init_args": {"source": "zh", "target": "bo"}}
    recipe["data"]["init_args"] |= data | {"task": task}
    file = folder / "encoder.yaml"
    file.write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    return file


@pytest.mark.slow
def test_interrupted_encoders_go_on_and_are_tested(
    corpus: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("fit", "test"):
        (tmp_path / name).mkdir()
    strike = {"step": 3, "signal_name": "SIGKILL", "hook": "on_train_batch_start", "dirpath": str(tmp_path / "fit")}
    kill = {"name": "reward", "dirpath": str(tmp_path / "test")}
    callbacks = [
        {"class_path": "semalign_pl.callbacks.TimedCheckpoint", "init_args": {"minutes": 0}},
        {"class_path": "helpers.run_callbacks.Strike", "init_args": strike},
        {"class_path": "helpers.kill_point.KillPoint", "init_args": kill},
    ]
    recipe, out = write_recipe(tmp_path, corpus, callbacks), tmp_path / "reward"
    assert finish(forked(train_encoders, (recipe,)), 300) == -signal.SIGKILL
    assert (out / "checkpoints" / "last.ckpt").is_file() and not (out / "encoder").exists()

    other = tmp_path / "other.jsonl"
    other.write_text((corpus / "train.jsonl").read_text(encoding="utf-8") * 2, encoding="utf-8")
    with pytest.raises(SystemExit, match=f"{out}: its encoder is of other pairs or another recipe; delete the folder"):
        train_encoders(write_recipe(tmp_path, corpus, callbacks, other))
    write_recipe(tmp_path, corpus, callbacks)

    assert finish(forked(train_encoders, (recipe,)), 300) == -signal.SIGKILL
    assert json.loads((out / "encoder" / "training.json").read_text(encoding="utf-8"))["steps"] == 4
    (out / "results.json").unlink(missing_ok=True)  # as if the test had been killed a moment earlier
    weights = (out / "encoder" / "model.safetensors").read_bytes()

    train_encoders(recipe)
    assert (out / "encoder" / "model.safetensors").read_bytes() == weights
    for folder in (out, tmp_path / "second"):
        assert json.loads((folder / "results.json").read_text(encoding="utf-8"))["metrics"]
    assert not [*tmp_path.glob("reward.earlier-*")]  # it went on; a training from the start would move the first aside
    assert "no trained_on.json" not in "".join(capfd.readouterr())

    (out / "trained_on.json").unlink()  # as an earlier version left it
    times = [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))]
    train_encoders(recipe)
    told = "".join(capfd.readouterr())
    unchecked = f"{out}: no trained_on.json, so its pairs and recipe are not checked"
    assert told == f"{unchecked}; delete the folder to train it again\n"
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*"))] == times
