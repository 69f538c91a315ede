"""Steps of a study side by side: the same results as in turn, and a clean end after a failure or a signal."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from helpers.small_runs import Runs, assert_same, weights

from semalign_pl.__main__ import main
from semalign_pl.run.digests import Digests
from semalign_pl.run.signals import Stopped
from semalign_pl.study.jobs import choose_place, needs, run_side_by_side
from semalign_pl.study.protocol import Step, steps
from semalign_pl.study.run_step import run_step
from semalign_pl.study.study_file import read_study
from semalign_pl.study.worker import StepTask


def write_study(runs: Runs, **strikes: dict[str, Any]) -> Path:
    """Study of two systems that both start from the base, and a third that starts from the first."""
    configs = runs.folder / "configs"
    configs.mkdir(exist_ok=True)
    for name in ("one", "two", "three"):
        strike = [{"class_path": "helpers.run_callbacks.Strike", "init_args": strikes[name]}] if name in strikes else []
        recipe = runs.recipe("sft", [{"class_path": "Evaluation"}, *strike])
        recipe["trainer"]["max_steps"] = 3
        recipe["data"]["init_args"]["eval_limit"] = 2
        (configs / f"{name}.yaml").write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    listed = "one: {from: base}\ntwo: {from: base}\nthree: {from: one}\n"
    (configs / "study.yaml").write_text(listed, encoding="utf-8")
    return configs


def args(configs: Path, out: Path, *flags: str) -> list[str]:
    return ["study", "--config", str(configs), "--out", str(out), *flags]


def fits(configs: Path, out: Path) -> list[Step]:
    """Trainings of a study that start from the base."""
    return [step for step in steps(read_study(configs), out, 1) if step.command == "fit" and not step.adapter]


def run_all(plan: list[Step], out: Path) -> list[int]:
    """Run steps side by side; return their places in the order in which they ended."""
    numbers = [str(place) for place in range(len(plan))]
    return [place for place, _ in run_side_by_side(plan, 2, out, out / "digests.json", False, numbers)]


def test_a_step_needs_the_training_of_its_adapter(runs: Runs) -> None:
    plan = list(steps(read_study(write_study(runs)), runs.folder / "out", 1))
    assert [step.name for step in plan] == [
        *("test base", "fit one", "test one", "fit two", "test two", "fit three", "test three")
    ]
    assert needs(plan, base_first=False) == [set(), set(), {1}, set(), {3}, {1}, {5}]
    assert needs(plan, base_first=True) == [set(), {0}, {0, 1}, {0}, {0, 3}, {0, 1}, {0, 5}]


def test_trainings_start_before_tests(runs: Runs) -> None:
    """The long chain of the last system does not begin when all others are done."""
    plan = list(steps(read_study(write_study(runs)), runs.folder / "study", 1))
    assert [step.command for step in plan[:4]] == ["test", "fit", "test", "fit"]
    assert choose_place(plan, [0, 1, 3]) == 1 and choose_place(plan, [0, 2, 3]) == 3 and choose_place(plan, [0, 2]) == 0


def test_a_task_survives_the_pipe(runs: Runs) -> None:
    for step in steps(read_study(write_study(runs)), runs.folder / "ou t\udcff", 1):
        task = StepTask(step, Path("digests.json"), Path("0.json"))
        assert StepTask.from_line(task.to_line()) == task


def test_dry_run_prints_plain_commands(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    configs, out = write_study(runs), runs.folder / "out"
    assert main(args(configs, out, "--dry-run")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["semalign", word] for word in ("test", *("fit", "test") * 3)]
    assert f"--trainer.default_root_dir {out / 'seed-0' / 'one'}" in lines[1] and not out.exists()
    assert main(args(configs, out, "--jobs", "0")) == 2
    assert "--jobs: 0 is not a positive number" in capsys.readouterr().err


@pytest.mark.slow
def test_a_signal_ends_all_steps_and_what_they_saved_goes_on(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first step is stopped by the system when the signal comes, so it ends late, but with its checkpoint."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # the steps' processes import the callback below
    out = runs.folder / "out"
    strike = {"step": 2, "signal_name": "SIGSTOP", "hook": "on_train_batch_start", "dirpath": str(runs.folder)}
    configs = write_study(runs, one=strike)
    plan, woken = fits(configs, out), list[int]()

    def interrupt() -> None:
        while not woken:
            time.sleep(0.1)
            woken.extend(one.pid for one in psutil.Process().children() if one.status() == psutil.STATUS_STOPPED)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        os.kill(woken[0], signal.SIGCONT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with pytest.raises(Stopped) as stopped:
        run_all(plan, out)
    thread.join()
    assert stopped.value.code == 130 and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not [one for one in psutil.Process().children() if "semalign_pl.study.worker" in one.cmdline()]
    saved = out / "seed-0" / "one" / "checkpoints" / "interrupted.ckpt"
    assert saved.exists() and not (out / "seed-0" / "one" / "adapter").exists()

    assert sorted(run_all(plan, out)) == [0, 1]
    printed = (out / "logs" / "seed-0.fit.one.log").read_text(encoding="utf-8")
    assert f"--resume: going on from {saved} at step 2" in printed
    turn = runs.folder / "turn"
    for step in fits(configs, turn):
        run_step(step, Digests(turn / "digests.json"))
    for name in ("one", "two"):
        assert_same(weights(out / "seed-0" / name), weights(turn / "seed-0" / name))


def test_a_step_that_fails_is_named_with_its_reason_and_its_log(runs: Runs) -> None:
    configs, out = write_study(runs), runs.folder / "out"
    recipe = yaml.safe_load((configs / "one.yaml").read_text(encoding="utf-8"))
    recipe["data"]["init_args"]["train"] = "nowhere.jsonl"
    (configs / "one.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    with pytest.raises(ValueError, match="fit one of seed 0 failed with status 2: .*nowhere.jsonl") as failed:
        run_all(fits(configs, out)[:1], out)
    assert str(out / "logs" / "seed-0.fit.one.log") in str(failed.value)


def test_a_rerun_keeps_the_log_and_quotes_its_own_attempt(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    configs, out = write_study(runs), runs.folder / "out"
    log = out / "logs" / "seed-0.fit.one.log"
    log.parent.mkdir(parents=True)
    log.write_text("epoch 1\nsemalign: error: of an earlier attempt\n", encoding="utf-8")
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(ValueError, match="fit one of seed 0 failed with status 1: it printed nothing"):
        run_all(fits(configs, out)[:1], out)
    first, second, attempt = log.read_text(encoding="utf-8").splitlines()
    assert (first, second) == ("epoch 1", "semalign: error: of an earlier attempt")
    assert re.fullmatch(r"-- [\d-]+ [\d:]+ semalign fit --config .*", attempt)
