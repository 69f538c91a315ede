"""A signal ends a run after the step, with a checkpoint and a status; a resumed run ends like an uninterrupted one.

Several runs share a process (two processes under DDP), since starting takes most of the time of a small run.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import Runs, assert_same, finish, start, weights

SIGNALS = ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT"]
STRUCK = [("SIGTERM", 0), ("SIGTERM", 1), ("SIGHUP", 1), ("SIGUSR1", 0), ("SIGINT", 1)]
"""Signals and the rank that gets each: every signal, and either rank."""
STEPS, AT = 4, 2
TWO = ["trainer.devices=2", "trainer.strategy=ddp"]
FEW = [f"trainer.max_steps={STEPS}", "data.init_args.batch_size=3", "data.init_args.limit=24"]


def status(signal_name: str) -> int:
    return 128 + signal.Signals[signal_name]


def statuses(log: str) -> list[int]:
    """Statuses of the runs before the last one in the same process."""
    return [int(found) for found in re.findall("status (.*)", log)]


def strike(signal_name: str, hook: str = "on_before_optimizer_step", rank: int = 0, step: int = AT) -> dict[str, Any]:
    init = {"step": step, "signal_name": signal_name, "hook": hook, "rank": rank}
    return {"class_path": "helpers.run_callbacks.Strike", "init_args": init}


def state(path: Path) -> dict[str, Any]:
    """Entries of a checkpoint on which training depends."""
    saved = torch.load(path, weights_only=True)
    return {key: saved[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "CorpusDataModule", "loops")}


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_any_signal_to_any_rank_stops_all_after_the_step(runs: Runs, ranks: int) -> None:
    """The checkpoint equals that of an uninterrupted run at this step, bit for bit; the resumed run ends like it."""
    few = [*FEW, *(TWO if ranks == 2 else [])]
    straight = runs.args("fit", "sft", "straight", *few, callbacks=[runs.checkpoints("straight", 1)])
    struck = STRUCK if ranks == 2 else [(name, 0) for name in SIGNALS]
    names = [f"{name}-{rank}" for name, rank in struck]
    interrupted = [runs.args("fit", "sft", f"{n}-{r}", *few, callbacks=[strike(n, rank=r)]) for n, r in struck]
    saved = {name: runs.folder / name / "checkpoints" / "interrupted.ckpt" for name in names}
    resumed = runs.args("fit", "sft", "resumed", *few, f"ckpt_path={saved[names[0]]}")
    # The status of the last run is that of the processes.
    for code, log in runs.processes(interrupted[-1], ranks, 200, [straight, *interrupted[:-1]]):
        assert [int(found) for found in re.findall("status (.*)", log)] == [0, *(status(n) for n, _ in struck[:-1])], (
            log
        )
        assert code == status(struck[-1][0]) and "Traceback" not in log
    said = runs.folder / "rank0.log"
    for name in names:
        assert_same(state(saved[name]), state(runs.folder / "straight" / f"step={AT}.ckpt"))
        assert f"interrupted at step {AT}; go on with --ckpt_path {saved[name]}" in said.read_text()
        assert [row["step"] for row in runs.metrics(name)] == ["0", "1"]
        assert not (runs.folder / name / "adapter").exists()
    for code, log in runs.processes(resumed, ranks, 200):
        assert code == 0, log
    assert_same(weights(runs.folder / "resumed"), weights(runs.folder / "straight"))


def test_a_signal_in_validation_is_answered_between_its_batches(runs: Runs) -> None:
    """The resumed run does this validation over all rows, in the middle of an epoch and at its end."""
    validated = [f"data.init_args.validation={runs.corpus / 'dev.jsonl'}", "model.init_args.max_new_tokens=40"]
    for every in ("val_check_interval=2", "check_val_every_n_epoch=1"):
        flags = [*FEW, *validated, f"trainer.{every}", *(["data.init_args.limit=6"] if "epoch" in every else [])]
        callbacks = [{"class_path": "Evaluation"}]
        struck = [strike("SIGTERM", "on_validation_batch_end"), *callbacks]
        name = every.split("=")[0]
        straight = runs.args("fit", "sft", f"{name}-straight", *flags, callbacks=callbacks)
        args = runs.args("fit", "sft", name, *flags, callbacks=struck)
        [(code, log)] = runs.processes(args, before=[straight])
        assert code == status("SIGTERM") and "Traceback" not in log, log
        saved = runs.folder / name / "checkpoints" / "interrupted.ckpt"
        runs("fit", "sft", f"{name}-resumed", *flags, f"ckpt_path={saved}", callbacks=callbacks)
        assert_same(weights(runs.folder / f"{name}-resumed"), weights(runs.folder / f"{name}-straight"))
        measured = [
            [
                (row["step"], row["val/bleu4"], row["val/chrf"])
                for row in runs.metrics(f"{name}-{which}")
                if row["val/chrf"]
            ]
            for which in ("resumed", "straight")
        ]
        assert measured[0] == measured[1] and len(measured[0]) == 2


def test_what_has_begun_to_be_written_is_finished(runs: Runs) -> None:
    """An export, and the results of a test; an interrupted test leaves the earlier results."""
    evaluation = {"class_path": "Evaluation"}
    lines = [
        runs.args("fit", "sft", "exported", *FEW, callbacks=[strike("SIGTERM", "on_train_end", step=STEPS)]),
        runs.args("test", "sft", "scored", *FEW, callbacks=[strike("SIGHUP", "on_test_end", step=0), evaluation]),
        runs.args("predict", "sft", "said", *FEW, callbacks=[strike("SIGINT", "on_predict_end", step=0), evaluation]),
        runs.args("test", "sft", "broken", *FEW, callbacks=[strike("SIGINT", "on_test_batch_end", step=0), evaluation]),
    ]
    [(code, log)] = runs.processes(lines[-1], before=lines[:-1])
    assert statuses(log) == [status("SIGTERM"), status("SIGHUP"), status("SIGINT")], log
    assert code == status("SIGINT") and "Traceback" not in log
    assert weights(runs.folder / "exported")
    assert not list((runs.folder / "exported").rglob("interrupted.ckpt"))  # there is nothing to resume
    assert runs.results("scored")["metrics"]["chrf"] and len(runs.predictions("scored")) == 8
    assert len(runs.predictions("said")) == 8
    assert not (runs.folder / "broken" / "results.json").exists()


def test_a_second_signal_stops_within_the_step(runs: Runs) -> None:
    args = runs.args("fit", "sft", "run", *FEW, callbacks=[{"class_path": "helpers.run_callbacks.Insist"}])
    started = time.monotonic()
    [(code, log)] = runs.processes(args)
    assert code == status("SIGTERM") and "Traceback" not in log, log
    assert time.monotonic() - started < 60  # the step takes longer
    assert "go on with --ckpt_path" in log


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "hook", "step"),
    [(0, "setup", 0), (0, "on_before_optimizer_step", AT), (1, "on_before_optimizer_step", AT)],
)
def test_processes_that_the_cli_started_end_together(runs: Runs, rank: int, hook: str, step: int) -> None:
    """While one process loads and the other waits, and during training; no process is left over."""
    args = runs.args("fit", "sft", "two", *FEW, *TWO, callbacks=[strike("SIGTERM", hook, rank, step)])
    log, tests = runs.folder / "log", Path(__file__).parents[1]  # folder of the recipe's own callback
    process = start(args, log, tests, script=str(Path(sys.executable).with_name("semalign")))
    code = finish(process, 240)
    out = log.read_text(encoding="utf-8")
    saved = runs.folder / "two" / "checkpoints" / "interrupted.ckpt"
    assert saved.exists() == (step > 0), out
    assert code == status("SIGTERM") and "Traceback" not in out, out
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
