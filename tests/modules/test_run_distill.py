"""Runs of distillation by recipe: resumed bit for bit, and healed no longer than needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.small_runs import Runs, assert_same, weights

from semalign_pl.cli import main
from semalign_pl.plan.recipe import settings_of

TEMPLATE = "{prompt}\n例：{reference}\n答。"


@pytest.fixture
def arguments(runs: Runs, sft_adapter: str) -> Any:
    """Command line of a fit in a folder of its own, with settings of the module and of the data, and callbacks."""

    def write(name: str, model: dict[str, Any], callbacks: Any = (), **data: Any) -> list[str]:
        recipe = runs.recipe("sft", list(callbacks))
        del recipe["model"]["init_args"]["lora"]
        settings = {"adapter": sft_adapter, "max_new_tokens": 6, "num_generations": 2, **model}
        recipe["model"] = {"class_path": "DistillModule", "init_args": recipe["model"]["init_args"] | settings}
        recipe["data"]["init_args"] |= data
        path = runs.write(recipe, name)
        return ["fit", "--config", str(path), f"--trainer.default_root_dir={runs.folder / name}"]

    return write


@pytest.fixture
def distill(arguments: Any) -> Any:
    """Fit in this process."""

    def run(name: str, model: dict[str, Any], *flags: str, callbacks: Any = ()) -> Any:
        return main([*arguments(name, model, callbacks), *flags])

    return run


@pytest.mark.parametrize("model", [{"teacher": "policy", "demonstration": TEMPLATE}, {"teacher": "base"}])
def test_resumed_equals_straight(runs: Runs, distill: Any, model: dict[str, Any]) -> None:
    steps = ["--trainer.max_steps=4"]
    distill("straight", model, *steps, callbacks=[runs.checkpoints("straight", 2)])
    resume = f"--ckpt_path={runs.folder / 'straight' / 'step=2.ckpt'}"
    distill("resumed", model, *steps, resume)
    assert_same(weights(runs.folder / "resumed"), weights(runs.folder / "straight"))
    with pytest.raises(ValueError, match="model.init_args.kind was reverse_kl and is forward_kl"):
        distill("other", {**model, "kind": "forward_kl"}, *steps, resume)


def stop(monitor: str, **options: Any) -> dict[str, Any]:
    return {"class_path": "EarlyStopping", "init_args": {"monitor": monitor, "mode": "max", "patience": 99, **options}}


@pytest.mark.parametrize(
    ("back", "spent", "steps"),
    [(-1.0, -1.0, 2), (101.0, 101.0, 2), (101.0, -1.0, 6)],
    ids=["probe-is-back", "budget-is-spent", "neither"],
)
def test_healing_stops_at_the_probe_or_the_budget(
    runs: Runs, distill: Any, back: float, spent: float, steps: int
) -> None:
    reading = {"file": str(runs.corpus / "reading.json"), "name": "cmrc_dev", "every_n_steps": 2, "max_new_tokens": 4}
    callbacks = [
        {"class_path": "Evaluation"},
        {"class_path": "ReadingComprehensionProbe", "init_args": reading},
        stop("probe/cmrc_dev_f1", stopping_threshold=back),
        stop("val/chrf", divergence_threshold=spent),
    ]
    flags = ["--trainer.max_steps=6", "--trainer.val_check_interval=2", "--trainer.check_val_every_n_epoch=null"]
    validation = f"--data.init_args.validation={runs.corpus / 'dev.jsonl'}"
    cli = distill("heal", {"teacher": "base"}, *flags, validation, callbacks=callbacks)
    assert cli.trainer.global_step == steps
    assert Path(runs.folder, "heal", "adapter", "adapter_model.safetensors").is_file()


@pytest.mark.slow
def test_both_processes_end_with_the_same_weights(runs: Runs, arguments: Any) -> None:
    """With one row per process, the two have different teachers in most steps, and one may have no row at all."""
    train = str(runs.corpus / "train.jsonl")
    task = {"class_path": "Translation", "init_args": {"source_only": True}}
    general = {"path": train, "weight": 0.5, "name": "general", "replay": True, "task": task}
    mix = [{"path": train, "weight": 0.5}, general]
    model = {"teacher": "start", "demonstration": TEMPLATE, "max_prompt_tokens": 50}
    fingerprint = {"class_path": "helpers.run_callbacks.Fingerprint"}
    flags = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_steps=6"]
    args = arguments("two", model, [fingerprint], train=mix, batch_size=1)
    for code, log in runs.processes([*args, *flags], ranks=2):
        assert code == 0, log
    first, second = ((runs.folder / "two" / f"fingerprint-{rank}").read_text() for rank in (0, 1))
    assert first == second


@pytest.mark.parametrize("name", ["heal", "sdft"])
def test_the_recipes_memory_is_planned(name: str, base: str) -> None:
    recipe = Path(__file__).parents[2] / "configs" / "methods" / f"{name}.yaml"
    settings = settings_of(["--config", str(recipe), "--model.init_args.base", base])
    assert (settings.stage, settings.num_generations) == ("grpo", 1)
    assert dict(settings.sampling) == {"temperature": 1.0, "top_p": 1.0}
