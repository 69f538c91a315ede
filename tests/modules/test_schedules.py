"""Every schedule that a recipe can name has the rates of the class built by hand, or is refused in one line."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.small_runs import Runs
from lightning.pytorch import LightningDataModule, Trainer
from torch.optim import lr_scheduler as schedules
from torch.utils.data import DataLoader

from semalign_pl.__main__ import main
from semalign_pl.cli import SemAlignCLI, make_cli
from semalign_pl.modules import SFTModule
from semalign_pl.modules.schedule import build_schedule

STEPS = 8
T = "torch.optim.lr_scheduler."


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5, momentum=0.9)


def rates(schedule: Any, steering: torch.optim.Optimizer) -> list[float]:
    found = []
    for _ in range(STEPS):
        found.append(steering.param_groups[0]["lr"])
        steering.step()
        schedule.step()
    return found


def recipe(schedule: Any, folder: Path) -> Path:
    """Recipe of SFT with a schedule; parsing it does not read the model."""
    module = {"base": "none", "lr_scheduler": schedule}
    content = {
        "model": {"class_path": "SFTModule", "init_args": module},
        "data": {"class_path": "CorpusDataModule", "init_args": {"train": "none.jsonl"}},
        "trainer": {"max_steps": STEPS, "accelerator": "cpu", "logger": False},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def parsed(schedule: Any, folder: Path) -> Any:
    """The schedule as a run builds it from its YAML, and its optimiser."""
    cli = make_cli(SemAlignCLI, ["--config", str(recipe(schedule, folder))], run=False)
    steering = optimizer()
    return build_schedule(cli.model.lr_scheduler, steering, STEPS), steering


# For each class: init_args in the YAML, and the arguments with the same meaning in a run of STEPS steps.
BUILT: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("LambdaLR", {"lr_lambda": "math.cos"}, {"lr_lambda": __import__("math").cos}),
    ("MultiplicativeLR", {"lr_lambda": "math.cos"}, {"lr_lambda": __import__("math").cos}),
    ("StepLR", {"step_size": 3}, {"step_size": 3}),
    ("StepLR", {"step_size": 3, "gamma": 0.5}, {"step_size": 3, "gamma": 0.5}),
    ("MultiStepLR", {"milestones": [2, 5]}, {"milestones": [2, 5]}),
    ("ConstantLR", {"factor": 0.5, "total_iters": 3}, {"factor": 0.5, "total_iters": 3}),
    ("ConstantLR", {"factor": 0.5}, {"factor": 0.5, "total_iters": STEPS}),
    ("LinearLR", {}, {"total_iters": STEPS}),
    ("LinearLR", {"total_iters": 5}, {"total_iters": 5}),  # torch's own default, but given explicitly
    ("ExponentialLR", {"gamma": 0.9}, {"gamma": 0.9}),
    ("CosineAnnealingLR", {}, {"T_max": STEPS}),
    ("CosineAnnealingLR", {"T_max": 4, "eta_min": 0.1}, {"T_max": 4, "eta_min": 0.1}),
    ("PolynomialLR", {"power": 2.0}, {"total_iters": STEPS, "power": 2.0}),
    ("PolynomialLR", {"total_iters": 5}, {"total_iters": 5}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3}, {"T_0": 3}),
    ("OneCycleLR", {"max_lr": 0.8}, {"max_lr": 0.8, "total_steps": STEPS}),
    ("OneCycleLR", {"max_lr": 0.8, "total_steps": 12}, {"max_lr": 0.8, "total_steps": 12}),
    (
        "OneCycleLR",
        {"max_lr": 0.8, "epochs": 2, "steps_per_epoch": 6},
        {"max_lr": 0.8, "epochs": 2, "steps_per_epoch": 6},
    ),
    (
        "CyclicLR",
        {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 2},
        {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 2},
    ),
]
REFUSED = {
    "ChainedScheduler": "joins schedules that were built on the optimiser before",
    "SequentialLR": "joins schedules that were built on the optimiser before",
    "ReduceLROnPlateau": "follows a metric of validation",
    "LRScheduler": "cannot be built",
}


def test_every_class_of_torch_is_tested() -> None:
    classes = {name for name in schedules.__all__ if inspect.isclass(getattr(schedules, name))}
    assert classes == {name for name, _, _ in BUILT} | set(REFUSED)


@pytest.mark.parametrize(("name", "given", "by_hand"), BUILT, ids=[f"{n}-{sorted(g)}" for n, g, _ in BUILT])
def test_rates_equal_those_of_the_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, given: dict[str, Any], by_hand: dict[str, Any]
) -> None:
    monkeypatch.setattr("sys.argv", ["semalign"])
    steering = optimizer()
    expected = rates(getattr(schedules, name)(steering, **by_hand), steering)
    assert len(set(expected)) > 1 or name == "ConstantLR"
    assert rates(*parsed({"class_path": T + name, "init_args": given}, tmp_path)) == expected


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        *(({"class_path": T + name}, said) for name, said in REFUSED.items()),
        ({"class_path": T + "ExponentialLR"}, "init_args.gamma: it is required but not set"),
        ({"class_path": "ReduceLROnPlateau"}, "torch.optim.lr_scheduler.ReduceLROnPlateau"),
        ({"class_path": T + "OneCycleLR", "init_args": {"max_lr": 1.0, "total_steps": 2}}, "over after 2 steps"),
        ({"class_path": T + "PolynomialLR", "init_args": {"total_iters": "many"}}, "total_iters"),
        ("transformers.get_constant_schedule", "transformers.get_constant_schedule is no LRScheduler"),
        (
            {"class_path": "transformers.get_linear_schedule_with_warmup", "init_args": {"num_warmup_steps": 2}},
            "is a function, and keys can only be given to a class",
        ),
        ("torch.optim.AdamW", "torch.optim.AdamW is no LRScheduler"),
    ],
    ids=str,
)
def test_a_schedule_that_cannot_be_built_is_refused_in_one_line(
    runs: Runs, capfd: pytest.CaptureFixture[str], schedule: Any, said: str
) -> None:
    content = runs.recipe("sft")
    content["model"]["init_args"]["lr_scheduler"] = schedule
    assert main(["fit", "--config", str(runs.write(content)), "--trainer.default_root_dir", str(runs.folder)]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("semalign: error: ")]
    assert len(lines) == 1 and "model.init_args.lr_scheduler" in lines[0] and said in lines[0]


def linear(optimizer: torch.optim.Optimizer, num_training_steps: int) -> schedules.LRScheduler:
    return schedules.LambdaLR(optimizer, lambda step: 1 - step / num_training_steps)


def test_in_python_too() -> None:
    """A user's own function, one of transformers', and a schedule that must be built on the optimiser by hand."""
    import functools

    import transformers

    steering = optimizer()
    assert rates(build_schedule(linear, steering, STEPS), steering) == [0.5 * (1 - i / STEPS) for i in range(STEPS)]
    steering = optimizer()
    warm = functools.partial(transformers.get_linear_schedule_with_warmup, num_warmup_steps=4)
    assert rates(build_schedule(warm, steering, STEPS), steering)[3:6] == [0.375, 0.5, 0.375]
    steering = optimizer()
    plain = functools.partial(schedules.ExponentialLR, gamma=0.5)
    assert rates(build_schedule(plain, steering, STEPS), steering)[:3] == [0.5, 0.25, 0.125]


def test_a_run_uses_it_and_its_saved_recipe_says_so(runs: Runs) -> None:
    """Learning rates of a real run, and of one from the recipe that it saved."""
    given = ["model.init_args.lr_scheduler=PolynomialLR", "trainer.max_steps=4"]
    given.append("model.init_args.lr_scheduler.init_args.power=1.0")
    cli = runs("fit", "sft", "run", *given)
    assert cli.trainer.optimizers[0].param_groups[0]["lr"] == 0.0
    assert cli.trainer.lr_scheduler_configs[0].scheduler.total_iters == 4
    saved = yaml.safe_load((runs.folder / "run" / "fit.yaml").read_text(encoding="utf-8"))
    assert saved["model"]["init_args"]["lr_scheduler"]["init_args"]["total_iters"] is None
    path = runs.folder / "again.yaml"
    path.write_text(json.dumps(saved), encoding="utf-8")
    from semalign_pl.cli import main as fit

    again = fit(["fit", "--config", str(path), "--trainer.max_steps=2", "--trainer.default_root_dir", str(runs.folder)])
    assert again.trainer.lr_scheduler_configs[0].scheduler.total_iters == 2


class TenRows(LightningDataModule):
    """Data module of a user's own."""

    def train_dataloader(self) -> DataLoader[int]:
        return DataLoader([*range(10)], batch_size=2, shuffle=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(("devices", "limit", "steps"), [(1, 1.0, 10), (2, 1.0, 6), (2, 2, 4)])
def test_a_schedule_is_as_long_as_the_run_of_each_process(devices: int, limit: int | float, steps: int) -> None:
    """Two processes have five rows each, so three batches; a loader has those of both until the fit begins."""
    trainer = Trainer(
        accelerator="cpu", devices=devices, max_epochs=2, limit_train_batches=limit, logger=False,
        enable_checkpointing=False,
    )  # fmt: skip
    trainer.datamodule = TenRows()
    module = SFTModule("none", optimizer=torch.optim.SGD)
    module.trainer = trainer
    assert module._total_steps() == steps
