"""Trainer options of Lightning that a stage cannot support are refused in one line, before the model is loaded."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.small_runs import Runs
from helpers.tiny import Batches
from lightning.pytorch import Trainer
from lightning.pytorch import callbacks as lightning_callbacks

from semalign_pl.__main__ import main
from semalign_pl.modules import SFTModule

CALLBACKS: dict[str, dict[str, Any]] = {
    "StochasticWeightAveraging": {"swa_lrs": 0.01},
    "WeightAveraging": {},
    "EMAWeightAveraging": {},
    "GradientAccumulationScheduler": {"scheduling": {0: 2}},
    "LearningRateFinder": {},
    "BatchSizeFinder": {},
    "BackboneFinetuning": {},
    "ModelPruning": {"pruning_fn": "l1_unstructured"},
    "SpikeDetection": {},
}
HARMLESS = {
    "BaseFinetuning": "abstract; BackboneFinetuning stands for it",
    "BasePredictionWriter": "abstract",
    "Callback": "the base",
    "Checkpoint": "abstract",
    "DeviceStatsMonitor": "reads the device alone",
    "EarlyStopping": "reads logged metrics",
    "LambdaCallback": "the user's own functions",
    "LearningRateMonitor": "reads the schedule",
    "ModelCheckpoint": "our state, saved after the step",
    "ModelSummary": "prints",
    "OnExceptionCheckpoint": "our state",
    "ProgressBar": "prints",
    "RichModelSummary": "prints",
    "RichProgressBar": "prints",
    "ThroughputMonitor": "counts batches",
    "Timer": "stops by time",
    "TQDMProgressBar": "prints",
}


def said(runs: Runs, capfd: pytest.CaptureFixture[str], **trainer: Any) -> str:
    """Message with which a run is refused; its base does not exist, so loading the base would give another message."""
    recipe = runs.recipe("sft", trainer.pop("callbacks", None))
    recipe["model"]["init_args"]["base"] = "no/such/folder"
    recipe["trainer"] |= trainer
    assert main(["fit", "--config", str(runs.write(recipe)), f"--trainer.default_root_dir={runs.folder}/run"]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("semalign: error: ")]
    assert len(lines) == 1
    return lines[0]


def test_every_callback_of_lightning_is_judged() -> None:
    assert set(lightning_callbacks.__all__) == set(CALLBACKS) | set(HARMLESS)


@pytest.mark.parametrize("name", CALLBACKS)
def test_callback_is_refused(runs: Runs, capfd: pytest.CaptureFixture[str], name: str) -> None:
    line = said(runs, capfd, callbacks=[{"class_path": name, "init_args": CALLBACKS[name]}])
    assert f"trainer.callbacks: {name} " in line and ";" in line


@pytest.mark.parametrize("value", ["bf16-true", "16-true", "64-true", "64", "transformer-engine"])
def test_precision_that_casts_the_weights_is_refused(runs: Runs, capfd: pytest.CaptureFixture[str], value: str) -> None:
    line = said(runs, capfd, precision=value)
    assert f"trainer.precision: {value} would cast the trained weights" in line and "bf16-mixed or 32-true" in line


def test_precision_plugin_that_casts_the_weights_is_refused(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    plugin = {"class_path": "lightning.pytorch.plugins.HalfPrecision", "init_args": {"precision": "bf16-true"}}
    assert "trainer.precision: HalfPrecision would cast" in said(runs, capfd, plugins=[plugin])


@pytest.mark.parametrize(
    "options", [{"precision": "bf16-true"}, {"callbacks": [lightning_callbacks.WeightAveraging()]}]
)
def test_in_python_too(options: dict[str, Any]) -> None:
    trainer = Trainer(accelerator="cpu", max_steps=1, logger=False, enable_checkpointing=False, **options)
    with pytest.raises(ValueError, match="trainer.precision: HalfPrecision|trainer.callbacks: WeightAveraging"):
        trainer.fit(SFTModule("no/such/folder"), datamodule=Batches([[]]))


@pytest.mark.parametrize("value", ["32-true", "bf16-mixed"])
def test_precision_that_keeps_the_weights_runs(runs: Runs, value: str) -> None:
    cli = runs("fit", "sft", "run", f"trainer.precision={value}", "trainer.max_steps=1")
    assert {str(p.dtype) for p in cli.model.parameters() if p.requires_grad} == {"torch.float32"}
