"""``semalign runs``: the state of each run below a folder, without torch."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from semalign_pl.__main__ import main
from semalign_pl.run.lock import hold
from semalign_pl.run.overview import find_runs, read_state


def write_run(
    folder: Path, *, batches: int = 0, steps: int | None = None, chrf: float | None = None, tested: str = "May"
) -> Path:
    """Folder as a training of ten steps leaves it after some batches, at its end, and after its test."""
    folder.mkdir(parents=True)
    model = {"class_path": "semalign_pl.modules.GRPOModule", "init_args": {"num_iterations": 2}}
    recipe = {"model": model, "trainer": {"max_steps": 10}}
    (folder / "fit.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    rows = "".join(f"{batch},0.5\n" for batch in range(batches))
    (folder / "metrics.csv").write_text(f"step,train/loss\n{rows}9", encoding="utf-8")  # a last line that is cut off
    if steps is not None:
        (folder / "adapter").mkdir()
        (folder / "adapter" / "training.json").write_text(json.dumps({"steps": steps, "finished": "May"}))
    if chrf is not None:
        metrics = {"chrf": {"value": chrf, "ci": None, "signature": "s"}}
        results = {"metrics": metrics, "run": {"trained": {"finished": tested}}}
        (folder / "results.json").write_text(json.dumps(results), encoding="utf-8")
    return folder


@pytest.fixture
def runs_of_all_states(tmp_path: Path) -> Path:
    write_run(tmp_path / "a", batches=3)
    write_run(tmp_path / "study" / "seed-0" / "b", batches=10, steps=10)
    write_run(tmp_path / "start-tested", batches=10, steps=10, chrf=9.0, tested="April")
    tested = write_run(tmp_path / "study" / "seed-0" / "c", batches=10, steps=10, chrf=41.25)
    write_run(tested / "points" / "step-5", chrf=1.0)  # a point of c, no run of its own
    (write_run(tmp_path / "d") / "fit.yaml").write_text("model: [", encoding="utf-8")
    return tmp_path


def test_states(runs_of_all_states: Path) -> None:
    with hold(runs_of_all_states / "a", "fit"):
        found = {str(one.path.relative_to(runs_of_all_states)): one for one in find_runs(runs_of_all_states)}
    assert {path: one.state for path, one in found.items()} == {
        "a": "training",
        "d": "damaged",
        "start-tested": "finished",
        "study/seed-0/b": "finished",
        "study/seed-0/c": "tested",
    }
    assert (found["a"].step, found["a"].steps, found["a"].stage) == (6, 10, "GRPO"), "two steps per batch"
    assert not found["start-tested"].scores, "those of another adapter"
    assert (found["study/seed-0/b"].step, found["study/seed-0/c"].scores) == (10, {"chrf": 41.25})
    after = read_state(runs_of_all_states / "a")
    assert (after.state, after.step) == ("interrupted", 6), "the lock's file remains, and nobody holds it"


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("results.json", "[", "results.json: not valid JSON .*; test the run again"),
        ("results.json", "[]", "results.json: list is no JSON object; test the run again"),
        ("adapter/training.json", "{", "training.json: not valid JSON .*; train again"),
        ("fit.yaml", "model: 3", "training.json is not as this package writes it"),
    ],
)
def test_the_damaged_file_is_named(tmp_path: Path, file: str, text: str, fault: str) -> None:
    run = write_run(tmp_path / "a", batches=10, steps=10, chrf=9.0)
    assert not read_state(run).fault
    (run / file).write_text(text, encoding="utf-8")
    found = read_state(run)
    assert found.state == "damaged" and re.search(fault, found.fault), found.fault


def test_a_lock_of_a_process_that_has_ended(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", batches=3)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    holder = {"pid": ended.pid, "host": os.uname().nodename, "since": "2026-01-01T00:00:00+00:00"}
    (folder / ".fit.lock").write_text(json.dumps(holder), encoding="utf-8")
    assert read_state(folder).state == "interrupted"


def test_the_command(runs_of_all_states: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.utime(runs_of_all_states / "a" / "metrics.csv", (time.time() + 1,) * 2)
    assert main(["runs", str(runs_of_all_states), "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed[-1]["scores"] == {"chrf": 41.25} and listed[-1]["path"].endswith("study/seed-0/c")
    assert main(["runs", str(runs_of_all_states)]) == 0
    table = capsys.readouterr().out
    assert f"damaged: {runs_of_all_states}/d/fit.yaml: not valid YAML" in table and "mend that line" in table
    assert "6/10" in table and "41.25" in table and "interrupted" in table
    assert main(["runs", str(runs_of_all_states / "nowhere")]) == 2
    assert "give the folder that holds the runs" in capsys.readouterr().err
