"""``precision: 16-mixed``: the loss scale changes neither norm nor step; an overflow skips the step on all ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import Runs, assert_same, weights
from helpers.tiny import relative

from semalign_pl.__main__ import main

SCALE = 65536.0


def plugin(scale: float = SCALE) -> dict[str, Any]:
    """Lightning turns ``precision: 16-mixed`` into bf16-mixed on a CPU, so the tests pass its plugin directly."""
    scaler = {"class_path": "torch.amp.GradScaler", "init_args": {"device": "cpu", "init_scale": scale}}
    init = {"precision": "16-mixed", "device": "cpu", "scaler": scaler}
    return {"class_path": "lightning.pytorch.plugins.MixedPrecision", "init_args": init}


def args(
    runs: Runs, name: str, stage: str = "sft", *flags: str, scale: float | None = SCALE, callbacks: Any = ()
) -> list[str]:
    """Command line of a run of three steps, in float16 unless ``scale`` is ``None``."""
    recipe = runs.recipe(stage, list(callbacks))
    recipe["model"]["init_args"]["lora"]["dropout"] = 0.0
    recipe["model"]["init_args"]["max_grad_norm"] = 0.1
    if scale is not None:
        recipe["trainer"]["plugins"] = [plugin(scale)]
    path = runs.write(recipe, name)
    return [
        "fit", "--config", str(path), f"--trainer.default_root_dir={runs.folder / name}", *(f"--{f}" for f in flags)
    ]  # fmt: skip


def fit(runs: Runs, name: str, *given: Any, **options: Any) -> Any:
    from semalign_pl.cli import main as run

    return run(args(runs, name, *given, **options))


def moved_rows(folder: Path) -> torch.Tensor:
    """LoRA's B as one vector: it starts at 0, so it is the sum of the steps."""
    return torch.cat([weight.flatten() for key, weight in sorted(weights(folder).items()) if "lora_B" in key])


@pytest.mark.parametrize("optimizer", ["torch.optim.AdamW", "torch.optim.SGD"])
def test_norm_and_step_equal_those_of_float32(runs: Runs, optimizer: str) -> None:
    """With SGD, a gradient clipped by a wrong norm shows; the second and third step follow from the first."""
    given = [f"model.init_args.optimizer={optimizer}", "model.init_args.optimizer.init_args.lr=0.01"]
    half, single = (fit(runs, str(scale), "sft", *given, scale=scale) for scale in (SCALE, None))
    assert half.trainer.precision_plugin.scaler.get_scale() == SCALE and half.trainer.global_step == 3
    for one, other in zip(runs.metrics(str(SCALE)), runs.metrics("None"), strict=True):
        assert float(one["train/grad_norm"]) == pytest.approx(float(other["train/grad_norm"]), rel=5e-3)
        assert float(one["train/loss"]) == pytest.approx(float(other["train/loss"]), rel=5e-3)
        assert (float(one["train/loss_scale"]), float(one["train/step_skipped"])) == (SCALE, 0.0)
    assert 0.1 < float(runs.metrics("None")[0]["train/grad_norm"]) < 100  # so the first step was clipped
    moved, expected = (moved_rows(runs.folder / name) for name in (str(SCALE), "None"))
    # Adam's first step has the sign of each gradient, which is noise for gradients that are small in float16.
    assert relative(moved, expected) < (0.02 if "SGD" in optimizer else 0.06)
    assert single.trainer.global_step == 3


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_an_overflow_skips_the_step_and_lowers_the_scale(runs: Runs, stage: str) -> None:
    """Weights, optimiser, schedule and global_step do not change; max_steps counts only the steps that were made."""
    overflow = [{"class_path": "helpers.run_callbacks.Overflow", "init_args": {"batch": 1}}]
    cli = fit(runs, "run", stage, callbacks=overflow)
    rows = runs.metrics("run")
    assert [float(row["train/step_skipped"]) for row in rows] == [0.0, 1.0, 0.0, 0.0]
    assert [float(row["train/loss_scale"]) for row in rows] == [SCALE, SCALE, SCALE / 2, SCALE / 2]
    assert cli.trainer.global_step == 3 and cli.trainer.lr_scheduler_configs[0].scheduler.last_epoch == 3
    assert not any(torch.isnan(weight).any() for weight in weights(runs.folder / "run").values())
    steps = {int(state["step"]) for state in cli.trainer.optimizers[0].state.values()}
    assert steps == {3}


def test_a_skipped_step_leaves_the_weights_as_they_were(runs: Runs) -> None:
    """Two runs of one step: one first has an overflow on other rows. Neither trains on those."""
    overflow = [{"class_path": "helpers.run_callbacks.Overflow"}]
    cli = fit(runs, "skipped", "sft", "trainer.max_epochs=1", "data.init_args.limit=6", callbacks=overflow)
    assert cli.trainer.global_step == 0
    exported = weights(runs.folder / "skipped")
    assert all(not weight.any() for key, weight in exported.items() if "lora_B" in key)  # the only step was skipped


def test_resume_goes_on_with_the_scale(runs: Runs) -> None:
    """Uninterrupted and resumed after a skipped step are equal, bit for bit."""
    overflow = [{"class_path": "helpers.run_callbacks.Overflow", "init_args": {"batch": 1}}]
    fit(runs, "straight", "sft", "trainer.max_steps=4", callbacks=[*overflow, runs.checkpoints("straight", 2)])
    saved = runs.folder / "straight" / "step=2.ckpt"
    cli = fit(runs, "resumed", "sft", "trainer.max_steps=4", f"ckpt_path={saved}")
    assert cli.trainer.precision_plugin.scaler.get_scale() == SCALE / 2
    assert_same(weights(runs.folder / "resumed"), weights(runs.folder / "straight"))


def test_overflow_after_overflow_stops_the_run(
    runs: Runs, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """A loss scale of 1e38 overflows float32; halved nineteen times it is still 2e32."""
    assert main(args(runs, "run", "sft", "trainer.max_steps=40", scale=1e38)) == 2
    said = capfd.readouterr().err
    assert "step 1 was skipped 20 times in a row" in said and "bf16-mixed or 32-true" in said
    assert caplog.text.count("the gradient overflowed float16 at a loss scale of 1e+38") == 1
    assert not (runs.folder / "run" / "adapter").exists()


@pytest.mark.slow
def test_an_overflow_on_one_rank_is_one_on_both(runs: Runs) -> None:
    """Two ranks end with the same weights and scale, after the same number of steps."""
    callbacks = [
        {"class_path": "helpers.run_callbacks.Overflow", "init_args": {"batch": 1, "rank": 1}},
        {"class_path": "helpers.run_callbacks.Fingerprint"},
    ]
    given = args(runs, "run", "sft", "trainer.devices=2", "trainer.strategy=ddp", callbacks=callbacks)
    for code, log in runs.processes(given, ranks=2):
        assert code == 0, log
    assert [float(row["train/step_skipped"]) for row in runs.metrics("run")] == [0.0, 1.0, 0.0, 0.0]
    one, other = (Path(runs.folder, "run", f"fingerprint-{rank}").read_text() for rank in range(2))
    assert one == other


def test_without_a_scaler_an_infinite_gradient_stops_the_run(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    overflow = [{"class_path": "helpers.run_callbacks.Overflow", "init_args": {"batch": 1}}]
    assert main(args(runs, "run", scale=None, callbacks=overflow)) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("semalign: error: ")]
    assert len(lines) == 1 and "step 2: the gradient norm is" in lines[0] and "optimizer.init_args.lr" in lines[0]
    assert not (runs.folder / "run" / "adapter").exists()
