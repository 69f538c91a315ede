"""Peak memory of a step on CUDA against the plan, and steps of a real model if its folder is there."""

from dataclasses import replace
from pathlib import Path

import model as bench_model
import pytest
import torch
from helpers.plan_measure import step
from helpers.small_runs import Runs

from semalign_pl.plan.predict import predict
from semalign_pl.plan.settings import Settings
from semalign_pl.policy.settings import LoraSettings

MIB = 2**20
SMOLLM2 = Path(__file__).parents[2] / "data" / "smollm2"


@pytest.fixture(scope="module")
def random_model(tmp_path_factory) -> str:
    """Folder of a random Qwen3 of 42 M parameters, in bfloat16."""
    folder = tmp_path_factory.mktemp("small")
    bench_model.make(folder, "small", "bfloat16")
    return str(folder)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("weights", ["fp32", "bf16", "nf4"])
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_the_peak_is_the_plans(stage, weights, recompute, random_model, cuda, record_property) -> None:
    """Up to a quarter, and up to cuBLAS's workspaces, which the plan does not count."""
    mixed = weights != "fp32"
    settings = Settings(
        random_model, stage, weights, LoraSettings(16, 32, 0.0), False, 512, 128, 32, 8 if stage == "grpo" else 1,
        32, 4096, recompute, mixed, sampling=(("temperature", 0.8), ("top_p", 0.9)), cuda=True,
    )  # fmt: skip
    with torch.autocast("cuda", torch.bfloat16, enabled=mixed, cache_enabled=False):
        step(replace(settings, rows=8, prompt_tokens=16, completion_tokens=8), cuda)  # libraries allocate on first use
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step(settings, cuda)
    peak, planned = torch.cuda.max_memory_allocated() - before, predict(settings).peak
    record_property("peak and plan in MiB", (peak / MIB, planned / MIB))
    assert 0.75 * planned - 32 * MIB <= peak <= 1.25 * planned + 64 * MIB


@pytest.mark.skipif(not (SMOLLM2 / "config.json").is_file(), reason="needs data/smollm2: semalign data smollm2")
@pytest.mark.parametrize("weights", ["fp32", "bf16", "nf4"])
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_a_real_model(stage, weights, runs: Runs) -> None:
    """The loss of SFT falls within ten steps on the same pairs; GRPO's stays finite."""
    options = [f"model.init_args.base={SMOLLM2}", f"model.init_args.weights={weights}", "trainer.accelerator=gpu"]
    options += ["trainer.precision=" + ("32-true" if weights == "fp32" else "bf16-mixed"), "trainer.max_steps=10"]
    options += ["model.init_args.micro_batch_tokens=4096", "model.init_args.max_new_tokens=200"]
    options += ["model.init_args.optimizer.init_args.lr=0.001"]
    runs("fit", stage, "run", *options)
    losses = [float(row["train/loss"]) for row in runs.metrics("run") if row["train/loss"]]
    assert len(losses) == 10 and all(abs(loss) < 100 for loss in losses)
    if stage == "sft":
        assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
