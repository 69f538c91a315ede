"""A ``fast_dev_run`` is a trial: it says so, and does not change the run's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.small_runs import Runs

from semalign_pl.__main__ import main


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and modification time of every file below a folder."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def writers(runs: Runs) -> list[dict[str, Any]]:
    """All callbacks of this package that write files and act within two steps."""
    drift = {"file": str(runs.corpus / "text.txt"), "every_n_steps": 1}
    return [
        {"class_path": "SampleTable", "init_args": {"every_n_steps": 1}},
        {"class_path": "RewardWatch", "init_args": {"window": 2}},
        {"class_path": "TaxBudget", "init_args": {"budget": {"kl_mean": 1.0}}},
        {"class_path": "DriftProbe", "init_args": drift},
        {"class_path": "Evaluation"},
        {"class_path": "TimedCheckpoint", "init_args": {"minutes": 0}},
        {"class_path": "KeepSteps", "init_args": {"every_n_steps": 1}},
    ]


def embedder(runs: Runs, command: str) -> list[str]:
    recipe = runs.recipe("sft")
    model = {"base": runs.encoder, "micro_batch": 16}
    recipe["model"] = {"class_path": "EmbedderModule", "init_args": model}
    return [command, "--config", str(runs.write(recipe)), f"--trainer.default_root_dir={runs.folder / 'run'}"]


@pytest.mark.parametrize("case", ["fit grpo", "test grpo", "validate grpo", "predict grpo", "fit emb", "test emb"])
def test_a_trial_writes_nothing(runs: Runs, case: str, capfd: pytest.CaptureFixture[str]) -> None:
    command, stage = case.split()
    validation = f"data.init_args.validation={runs.corpus / 'dev.jsonl'}"
    callbacks = writers(runs) if command == "fit" else [*writers(runs)[3:5]]
    if stage == "grpo":
        given = runs.args(command, "grpo", "run", validation, callbacks=callbacks)
    else:
        given = embedder(runs, command)
    capfd.readouterr()
    assert main([*given, "--trainer.fast_dev_run=2"]) == 0
    folder = runs.folder / "run"
    assert not folder.exists()
    assert f"trainer.fast_dev_run: a trial, of which nothing is written to {folder}" in capfd.readouterr().out


def test_a_trial_leaves_a_run_as_it_was(runs: Runs) -> None:
    """In a finished run's folder and in an interrupted one's: no checkpoint, no adapter, metrics not renamed."""
    runs("fit", "sft", "run", "trainer.max_steps=1")
    folder = runs.folder / "run"
    before = files(folder)
    runs("fit", "sft", "run", "trainer.fast_dev_run=true", "seed_everything=4")
    runs("fit", "sft", "run", "trainer.fast_dev_run=true", "ckpt_path=last", "trainer.max_steps=3")
    runs("test", "sft", "run", "trainer.fast_dev_run=true", callbacks=[{"class_path": "Evaluation"}])
    strike = {"step": 2, "signal_name": "SIGINT", "hook": "on_train_batch_end"}
    callbacks = [{"class_path": "helpers.run_callbacks.Strike", "init_args": strike}]
    [(code, log)] = runs.processes(runs.args("fit", "sft", "run", "trainer.fast_dev_run=3", callbacks=callbacks))
    assert code != 0 and "Ctrl-C" in log
    assert files(folder) == before
    saved = yaml.safe_load((folder / "fit.yaml").read_text(encoding="utf-8"))
    assert saved["seed_everything"] == 3 and json.loads((folder / "adapter/training.json").read_text())["steps"] == 1
