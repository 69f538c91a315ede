"""Callbacks work with a module that has the members of their protocol, and name what another one lacks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from semalign_pl.callbacks import Evaluation, Export, TaxBudget
from semalign_pl.policy.policy import Policy
from semalign_pl.probes.base import Probe
from semalign_pl.protocols import ExampleData, KLModule, ProbeListener, SamplingModule, SignedCallback
from semalign_pl.rewards import LengthReward
from semalign_pl.rewards.calibration import training_examples
from semalign_pl.run.trainer import callbacks_of, data_module_of, is_trial
from semalign_pl.types import Example, Measurement, MetricResult, Rollouts


class Zero(Probe):
    def measure(self, policy: Policy) -> Measurement:
        return Measurement({"zero": MetricResult(0.0, None, "")})


class Own(LightningModule):
    """Module of a user: no base class of this package."""

    stage, seed, beta = "own", 3, 0.1

    def rollouts(self, batch: list[Example], num_generations: int, seed: int) -> Rollouts:
        raise NotImplementedError

    def export(self, root: Path) -> Path:
        (root / "adapter").mkdir()
        return root / "adapter"


class OwnData(LightningDataModule):
    examples = {"train": [Example("a:1", "prompt", "reference")]}


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, default_root_dir=tmp_path)


@pytest.mark.parametrize(
    ("refuse", "message"),
    [
        (lambda trainer, module: Zero().run(module), "Zero needs a module with a policy.* LightningModule lacks it"),
        (
            lambda trainer, module: Evaluation().on_test_epoch_start(trainer, module),
            "Evaluation needs .*max_new_tokens",
        ),
        (lambda trainer, module: Export().on_fit_start(trainer, module), r"Export needs .*export\(root\)"),
        (lambda trainer, module: TaxBudget({"zero": 1.0}).on_train_start(trainer, module), "beta 0 <= beta_max"),
        (
            lambda trainer, module: Evaluation().on_test_batch_end(trainer, module, torch.zeros(()), None, 0),
            "the step of this module returns none",
        ),
    ],
)
def test_a_module_without_the_members_is_refused(
    refuse: Callable[[Trainer, LightningModule], object], message: str, trainer: Trainer
) -> None:
    with pytest.raises(ValueError, match=message):
        refuse(trainer, LightningModule())


def test_a_module_of_ones_own_needs_members_and_no_base_class(trainer: Trainer, tmp_path: Path) -> None:
    module = Own()
    assert isinstance(module, SamplingModule) and isinstance(module, KLModule)
    export = Export()
    export.on_fit_start(trainer, module)
    export.on_train_end(trainer, module)
    assert (tmp_path / "adapter" / "training.json").is_file()


def test_callbacks_and_data_modules_are_known_by_their_members(trainer: Trainer) -> None:
    assert isinstance(TaxBudget({"zero": 1.0}), ProbeListener) and not isinstance(Zero(), ProbeListener)
    assert isinstance(LengthReward(), SignedCallback) and not isinstance(Callback(), SignedCallback)
    assert data_module_of(trainer) is None and list(training_examples(trainer)) == []
    trainer._data_connector.attach_datamodule(LightningModule(), OwnData())
    assert isinstance(data_module_of(trainer), ExampleData)
    assert training_examples(trainer) == OwnData.examples["train"]
    assert callbacks_of(trainer) is trainer.callbacks and not is_trial(trainer)  # type: ignore[attr-defined]
