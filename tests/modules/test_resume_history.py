"""One history: after resuming, the log files of both attempts contain each step once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from helpers.small_runs import Runs

TABLE = {"class_path": "SampleTable", "init_args": {"every_n_steps": 1, "groups": 1}}
# Three batches per epoch, with a validation after each second batch; a probe measures at each second step.
FLAGS = ["trainer.max_steps=6", "data.init_args.limit=6", "trainer.val_check_interval=2", "data.init_args.eval_limit=2"]


def fit(runs: Runs, name: str, *flags: str) -> None:
    probe = {"class_path": "DriftProbe", "init_args": {"file": str(runs.corpus / "text.txt"), "every_n_steps": 2}}
    kept = {**runs.checkpoints("kept", 1)}
    kept["init_args"] = {**kept["init_args"], "dirpath": str(runs.folder / name / "kept")}
    callbacks = [TABLE, {"class_path": "Evaluation"}, probe, kept]
    validation = f"data.init_args.validation={runs.corpus / 'dev.jsonl'}"
    runs("fit", "grpo", name, validation, *FLAGS, *flags, callbacks=callbacks)


def rows(runs: Runs, name: str) -> list[dict[str, str]]:
    """Logged values, by step and column, without times."""
    return [
        {
            column: value
            for column, value in row.items()
            if value and "time/" not in column and "per_second" not in column
        }
        for row in runs.metrics(name)
    ]


def completions(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "completions.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def table(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "completions")


def test_an_attempt_that_is_resumed_leaves_one_history(runs: Runs) -> None:
    """The second attempt starts earlier than the first one's log ends, whose last line a kill cut off."""
    fit(runs, "straight")
    straight = rows(runs, "straight")
    assert sorted(int(row["step"]) for row in straight if "train/loss" in row) == list(range(6))
    assert {int(row["step"]) for row in straight if "val/chrf" in row} == {1, 4}
    for step in (2, 3, 5):  # before a validation, at an epoch's end, before another validation
        folder = runs.folder / f"again{step}"
        shutil.copytree(runs.folder / "straight", folder)
        for name, half in (("metrics.csv", "1,2"), ("completions.jsonl", '{"step": 7, "id')):
            with (folder / name).open("a", encoding="utf-8") as file:
                file.write(half)
        fit(runs, folder.name, f"ckpt_path={folder / 'kept' / f'step={step}.ckpt'}")
        assert rows(runs, folder.name) == straight
        assert completions(folder) == completions(runs.folder / "straight")
        assert table(folder).equals(table(runs.folder / "straight"))
        assert not list(runs.folder.glob("*.earlier-*"))


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_new_run_in_the_folder_begins_a_history_of_its_own(runs: Runs, elsewhere: bool) -> None:
    """The earlier one ended before its first checkpoint; the new one starts afresh, or from another run's checkpoint.

    A fit into a folder that holds a checkpoint or an adapter is refused.
    """
    folder, flags = runs.folder / "run", []
    if elsewhere:
        runs("fit", "grpo", "other", "trainer.max_steps=2", callbacks=[TABLE, runs.checkpoints("other", 1)])
        flags = [f"ckpt_path={runs.folder / 'other' / 'step=1.ckpt'}"]
    runs("fit", "grpo", "run", "trainer.max_steps=1", callbacks=[TABLE])
    for name in ("adapter", "checkpoints"):
        shutil.rmtree(folder / name, ignore_errors=True)
    (folder / "export").mkdir()  # of the earlier adapter
    runs("fit", "grpo", "run", f"trainer.max_steps={1 + elsewhere}", *flags, callbacks=[TABLE])
    assert [row["step"] for row in completions(folder)] == [1 + elsewhere] * 2
    earlier = folder.with_name("run.earlier-1")
    assert [row["step"] for row in completions(earlier)] == [1, 1] and len(runs.metrics()) == 1
    assert {"fit.yaml", "metrics.csv", "completions", "export"} <= {path.name for path in earlier.iterdir()}


@pytest.mark.parametrize(("finished", "left"), [(True, "0123"), (False, "012")])
def test_rows_of_the_last_batch_that_come_again_are_dropped(tmp_path, finished: bool, left: str) -> None:
    """After two batches: the probe's row, the batch's own, and then its validation's, which may not have run yet."""
    from semalign_pl.run.history import cut_history

    lines = ["step,train/loss,val/chrf,probe/nll", "0,0.5,,", "1,,,3", "1,0.4,,", "1,,7,", "2,0.3,,", "2,,"]
    (tmp_path / "metrics.csv").write_text("\n".join(lines), encoding="utf-8")
    cut_history(tmp_path, batches=2, steps=2, finished=finished)
    expected = [lines[0], *(lines[1 + int(place)] for place in left)]
    assert (tmp_path / "metrics.csv").read_text(encoding="utf-8").splitlines() == expected
