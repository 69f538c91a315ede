"""A signal ends a run after the step, with a checkpoint and a status; the run that goes on ends where a straight one does.

Several runs share a process (two processes under DDP), since most of a small run's time is its start.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import Runs, assert_same, weights

SIGNALS = ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT"]
STEPS, AT = 4, 2
TWO = ["trainer.devices=2", "trainer.strategy=ddp"]
FEW = [f"trainer.max_steps={STEPS}", "data.init_args.batch_size=3", "data.init_args.limit=24"]


def status(signal_name: str) -> int:
    return 128 + signal.Signals[signal_name]


def strike(signal_name: str, hook: str = "on_before_optimizer_step", rank: int = 0, step: int = AT) -> dict[str, Any]:
    init = {"step": step, "signal_name": signal_name, "hook": hook, "rank": rank}
    return {"class_path": "run_callbacks.Strike", "init_args": init}


def state(path: Path) -> dict[str, Any]:
    """What training depends on in a checkpoint."""
    saved = torch.load(path, weights_only=True)
    return {key: saved[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "CorpusDataModule", "loops")}


@pytest.mark.parametrize("ranks", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_any_signal_to_any_rank_stops_all_after_the_step(runs: Runs, ranks: int) -> None:
    """The checkpoint is, bit for bit, that of an uninterrupted run at this step; the resumed run ends as it does."""
    few = [*FEW, *(TWO if ranks == 2 else [])]
    straight = runs.args("fit", "sft", "straight", *few, callbacks=[runs.checkpoints("straight", 1)])
    struck = [(name, rank) for name in SIGNALS for rank in range(ranks)]
    names = [f"{name}-{rank}" for name, rank in struck]
    interrupted = [runs.args("fit", "sft", f"{n}-{r}", *few, callbacks=[strike(n, rank=r)]) for n, r in struck]
    saved = {name: runs.folder / name / "checkpoints" / "interrupted.ckpt" for name in names}
    resumed = runs.args("fit", "sft", "resumed", *few, f"ckpt_path={saved[names[0]]}")
    # The last run's status is that of the processes.
    for code, log in runs.processes(interrupted[-1], ranks, 200, [straight, *interrupted[:-1]]):
        assert [int(found) for found in re.findall("status (.*)", log)] == [0, *(status(n) for n, _ in struck[:-1])], log
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
