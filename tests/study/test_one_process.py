"""Steps of a study follow one another in one process: none leaves anything behind that changes the next one."""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.small_runs import Runs, assert_same, weights
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

EVALUATION = [{"class_path": "Evaluation"}]
FEW = ["data.init_args.eval_limit=2", "trainer.max_steps=2"]
SETTINGS: dict[str, Callable[[], Any]] = {
    "default dtype": torch.get_default_dtype,
    "threads": torch.get_num_threads,
    "precision of products": torch.get_float32_matmul_precision,
    "deterministic": torch.are_deterministic_algorithms_enabled,
    "gradients": torch.is_grad_enabled,
    "inference mode": torch.is_inference_mode_enabled,
    "handlers of signals": lambda: [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
    "handlers of logs": lambda: [len(logging.getLogger(name).handlers) for name in ("", "lightning", "semalign_pl")],
    "filters of warnings": lambda: len(warnings.filters),
    "ranks": lambda: {key: value for key, value in os.environ.items() if "RANK" in key or "WORLD" in key},
    "hooks of every module": lambda: len(torch.nn.modules.module._global_forward_hooks),
}
"""What a run reads from its process."""


class BreaksAt(Callback):
    """Fail in the first optimiser step."""

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        raise RuntimeError("broken on purpose")


def settings() -> dict[str, Any]:
    return {name: read() for name, read in SETTINGS.items()}


def test_a_step_that_fails_or_ends_changes_nothing_for_the_next(runs: Runs) -> None:
    """GRPO after two trainings, a test and a failure equals GRPO in a process of its own, bit for bit."""
    runs("fit", "sft", "first", *FEW, callbacks=EVALUATION)  # registers what is registered once in a process
    before = settings()
    with pytest.raises(RuntimeError, match="broken on purpose"):
        runs("fit", "sft", "broken", *FEW, callbacks=[*EVALUATION, {"class_path": f"{__name__}.BreaksAt"}])
    assert settings() == before
    adapter = f"model.init_args.adapter={runs.folder / 'first' / 'adapter'}"
    runs("test", "sft", "first", *FEW, adapter, callbacks=EVALUATION)
    runs("fit", "grpo", "after", *FEW, callbacks=EVALUATION)
    assert settings() == before

    [(code, log)] = runs.processes(runs.args("fit", "grpo", "alone", *FEW, callbacks=EVALUATION))
    assert code == 0, log
    assert_same(weights(runs.folder / "after"), weights(runs.folder / "alone"))
    rewards = [[row["train/reward"] for row in runs.metrics(name)] for name in ("after", "alone")]
    assert rewards[0] == rewards[1] and len(rewards[0]) == 2
