"""Files in the folder of a training run, besides its metrics."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import yaml
from helpers.small_runs import Runs, weights

TABLE = {"class_path": "semalign_pl.callbacks.SampleTable", "init_args": {"every_n_steps": 1, "groups": 1}}


def test_samples_of_every_step_are_kept(runs: Runs) -> None:
    runs("fit", "grpo", "run", "trainer.max_steps=3", callbacks=[TABLE])
    lines = (runs.folder / "run" / "completions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["step"] for row in rows] == [1, 1, 2, 2, 3, 3]  # one group of two per step
    for row in rows:
        assert set(row["rewards"]) == {"semantic", "language"} and isinstance(row["ended_by_eos"], bool)
        assert row["reward"] == pytest.approx(1.5 * row["rewards"]["semantic"] + row["rewards"]["language"])
    assert rows[0]["id"] == rows[1]["id"] != rows[2]["id"]
    table = pd.read_parquet(runs.folder / "run" / "completions")
    assert len(table) == 3 * 2 * 2, "all completions of every step, whatever the text file has"
    assert dict(table.groupby("step").size()) == {1: 4, 2: 4, 3: 4}
    for row, (_, whole) in zip(rows[:2], table.iterrows(), strict=False):  # in order of the batch
        assert {key: whole[key] for key in ("id", "prompt", "reference", "completion", "ended_by_eos")} == {
            key: row[key] for key in ("id", "prompt", "reference", "completion", "ended_by_eos")
        }
        assert (whole["reward"], whole["reward/semantic"]) == (row["reward"], row["rewards"]["semantic"])
        assert 1 <= whole["tokens"] <= 6


def test_samples_every_second_step_of_all_epochs(runs: Runs) -> None:
    """Three batches per epoch: the step counts through the run, not through the epoch."""
    every_second = {**TABLE, "init_args": {"every_n_steps": 2, "groups": 1}}
    runs("fit", "grpo", "run", "trainer.max_steps=6", "data.init_args.limit=6", callbacks=[every_second])
    lines = (runs.folder / "run" / "completions.jsonl").read_text(encoding="utf-8").splitlines()
    assert sorted({json.loads(line)["step"] for line in lines}) in ([1, 3, 5], [2, 4, 6])
    assert sorted(set(pd.read_parquet(runs.folder / "run" / "completions")["step"])) == [1, 2, 3, 4, 5, 6]


def test_the_adapter_is_exported_and_the_recipe_saved(runs: Runs) -> None:
    cli = runs("fit", "sft", "run", "trainer.max_steps=1")
    folder = runs.folder / "run"
    state = cli.model.state_dict()
    exported = weights(folder)
    assert exported.keys() == state.keys() and all(exported[key].equal(state[key]) for key in state)
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (4, 8, runs.base)
    saved = yaml.safe_load((folder / "fit.yaml").read_text(encoding="utf-8"))
    assert saved["model"]["init_args"]["base"] == runs.base and saved["seed_everything"] == 3

    runs("test", "sft", "run", "seed_everything=4", callbacks=[{"class_path": "Evaluation"}])
    assert yaml.safe_load((folder / "fit.yaml").read_text(encoding="utf-8")) == saved
    assert yaml.safe_load((folder / "test.yaml").read_text(encoding="utf-8"))["seed_everything"] == 4


def test_a_second_run_keeps_earlier_metrics(runs: Runs) -> None:
    """One history, in one file: the run goes on twice from where it ended."""
    folder = runs.folder / "run"
    for steps, flags in ((1, []), (2, ["ckpt_path=last"]), (4, ["ckpt_path=last"])):
        runs("fit", "sft", "run", f"trainer.max_steps={steps}", *flags)
        assert [path.name for path in folder.glob("metrics*.csv")] == ["metrics.csv"]
        rows = runs.metrics()
        assert [int(row["step"]) for row in rows] == list(range(steps)) and all(row["train/loss"] for row in rows)
