"""Runs without output, or with a monitored metric that nothing logs, end before their model is loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.small_runs import Runs, weights

from semalign_pl.modules import AlignModule

EVALUATION = {"class_path": "Evaluation"}


@pytest.fixture
def unloaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record of what was loaded; loading ends the run."""
    loaded: list[str] = []

    def load(module: AlignModule) -> None:
        loaded.append(module.base)
        raise InterruptedError

    monkeypatch.setattr(AlignModule, "configure_model", load)
    return loaded


PROBE = {"class_path": "ReadingComprehensionProbe"}
BUDGET = {"class_path": "TaxBudget", "init_args": {"budget": {"nll_change_mean": 1.0}}}
"""Budget of the only score that an untrained model can lose."""


def drift(corpus: Path) -> dict[str, Any]:
    """Callback that measures the score of the budget in training."""
    return {"class_path": "DriftProbe", "init_args": {"file": str(corpus / "text.txt"), "every_n_steps": 1}}


@pytest.mark.parametrize("stage", ["sft", "grpo"])
@pytest.mark.parametrize("command", ["test", "predict", "validate"])
def test_nothing_would_be_left(runs: Runs, unloaded: list[str], command: str, stage: str) -> None:
    probe = {**PROBE, "init_args": {"file": str(runs.corpus / "reading.json")}}
    validation = f"data.init_args.validation={runs.corpus / 'dev.jsonl'}"
    if (command, stage) == ("validate", "sft"):  # the SFT module logs val/loss itself
        with pytest.raises(InterruptedError):
            runs(command, stage, "run", validation)
        return
    with pytest.raises(ValueError, match=rf"trainer.callbacks: {command} would leave nothing.*add .class_path: Eval"):
        runs(command, stage, "run", validation, callbacks=[probe])
    assert not unloaded and not (runs.folder / "run").exists()


def test_the_hint_names_the_language_of_the_task(runs: Runs, unloaded: list[str]) -> None:
    task = json.dumps({"class_path": "Translation", "init_args": {"source": "bo", "target": "zh"}})
    with pytest.raises(ValueError, match=r"add .class_path: Evaluation, init_args: .language: zh.., which writes"):
        runs("test", "sft", "run", f"data.init_args.task={task}", callbacks=[drift(runs.corpus)])
    assert not unloaded


@pytest.mark.parametrize("callback", ["Evaluation", "helpers.run_callbacks.Reader"])
def test_something_would_be_left(runs: Runs, unloaded: list[str], callback: str) -> None:
    with pytest.raises(InterruptedError):
        runs("test", "sft", "run", callbacks=[{"class_path": callback}])
    assert unloaded


def monitors(kind: str, name: str, **options: Any) -> dict[str, Any]:
    return {"class_path": kind, "init_args": {"monitor": name, **options}}


@pytest.mark.parametrize(
    ("callback", "validated", "reason"),
    [
        (monitors("EarlyStopping", "val/los"), True, "EarlyStopping.monitor: nothing logs 'val/los'.*mean val/loss"),
        (monitors("EarlyStopping", "val/chr"), True, "EarlyStopping.monitor: nothing logs 'val/chr'.*mean val/chrf"),
        (monitors("EarlyStopping", "nothing"), True, "nothing logs 'nothing' .*; there is .*train/loss.*val/loss"),
        (monitors("EarlyStopping", "val/loss"), False, "'val/loss' is logged in validation.*data.init_args.validation"),
        (monitors("ModelCheckpoint", "train/los"), True, "ModelCheckpoint.monitor: nothing logs.*train/loss"),
        (monitors("ModelCheckpoint", "val/loss", filename="{step}-{val/lss:.2f}"), True, "filename: nothing.*val/loss"),
    ],
    ids=lambda value: value["init_args"]["monitor"] if isinstance(value, dict) else None,
)  # fmt: skip
def test_a_metric_that_nothing_logs(
    runs: Runs, unloaded: list[str], callback: dict[str, Any], validated: bool, reason: str
) -> None:
    flags = [f"data.init_args.validation={runs.corpus / 'dev.jsonl'}"] if validated else []
    with pytest.raises(ValueError, match=f"trainer.callbacks: .*{reason}"):
        runs("fit", "sft", "run", *flags, callbacks=[callback, EVALUATION])
    assert not unloaded and not (runs.folder / "run").exists()


WATCHER = {"class_path": "helpers.run_callbacks.Watcher"}  # may log any metric
SCORE = {"class_path": "FrontierScore", "init_args": {"prices": {"nll_change_mean": 1.0}}}


@pytest.mark.parametrize(
    ("callback", "mode"),
    [
        (monitors("ModelCheckpoint", "val/chrf"), "max"),
        (monitors("ModelCheckpoint", "frontier/score", mode="min"), "max"),
        (monitors("EarlyStopping", "probe/nll_change_mean", mode="max"), "min"),
        (monitors("EarlyStopping", "val/loss", mode="max"), "min"),
    ],
    ids=lambda value: value["init_args"]["monitor"] if isinstance(value, dict) else value,
)
@pytest.mark.parametrize("others", [[], [WATCHER]], ids=["", "beside a callback of one's own"])
def test_a_mode_that_takes_the_worst_for_the_best(
    runs: Runs, unloaded: list[str], callback: dict[str, Any], mode: str, others: list[dict[str, Any]]
) -> None:
    flags = [f"data.init_args.validation={runs.corpus / 'dev.jsonl'}"]
    callbacks = [callback, EVALUATION, drift(runs.corpus), SCORE, *others]
    name = callback["init_args"]["monitor"]
    with pytest.raises(ValueError, match=f"{callback['class_path']}.mode: .* the worst {name} for.*write mode: {mode}"):
        runs("fit", "sft", "run", *flags, callbacks=callbacks)
    assert not unloaded
    with pytest.raises(InterruptedError):
        runs("fit", "sft", "run", *flags, callbacks=[monitors(callback["class_path"], name, mode=mode), *callbacks[1:]])


@pytest.mark.parametrize("metric", ["train/reward", "train/loss/accuracy"])
def test_a_metric_without_a_direction_has_any_mode(runs: Runs, unloaded: list[str], metric: str) -> None:
    """The last part of a longer name is that of a corpus, or what a user's reward logs."""
    for mode in ("min", "max"):
        with pytest.raises(InterruptedError):
            runs("fit", "grpo", f"run_{mode}", callbacks=[monitors("ModelCheckpoint", metric, mode=mode)])


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_every_metric_that_is_logged_may_be_monitored(runs: Runs, stage: str) -> None:
    """Metric names known before a run are exactly those that the run logs."""
    from semalign_pl.cli.monitors import check_monitors

    probe = {**PROBE, "init_args": {"file": str(runs.corpus / "reading.json"), "every_n_steps": 1}}
    grpo = [{"class_path": "RewardWatch"}, drift(runs.corpus), BUDGET]
    validated = [f"data.init_args.validation={runs.corpus / 'dev.jsonl'}", "trainer.val_check_interval=1"]
    callbacks = [EVALUATION, probe, *(grpo if stage == "grpo" else [])]
    cli = runs("fit", stage, "run", *validated, "trainer.max_steps=2", callbacks=callbacks)
    logged = set(cli.trainer.callback_metrics)
    assert len(logged) > 10 and {"val/chrf", "train/loss"} < logged
    for name in logged:
        cli.trainer.callbacks[0].monitor = name
        check_monitors(cli.trainer, cli.model, cli.datamodule)
    cli.trainer.callbacks[0].monitor = "train/none"
    with pytest.raises(ValueError, match="nothing logs 'train/none'"):
        check_monitors(cli.trainer, cli.model, cli.datamodule)


@pytest.mark.parametrize(
    "options",
    [
        ["beta=0.0"],
        ["loss_type=best_of_group", "beta=0.0"],
        ["loss_type=best_of_group", "beta=0.1", "reference_nll_weight=0.2", "reference_nll_schedule=linear"],
        ["loss_type=cpo", "beta=0.0"],
        ["reference_nll_weight=0.2"],
    ],
    ids=" ".join,
)
def test_every_value_of_an_update_may_be_monitored(runs: Runs, options: list[str]) -> None:
    from semalign_pl.cli.monitors import check_monitors

    flags = [f"model.init_args.{option}" for option in options]
    cli = runs("fit", "grpo", "run", *flags, "trainer.max_steps=1", callbacks=[EVALUATION])
    logged = [name for name in cli.trainer.callback_metrics if name.startswith("train/")]
    assert len(logged) > 10
    for name in logged:
        cli.trainer.callbacks[0].monitor = name
        check_monitors(cli.trainer, cli.model, cli.datamodule)
    if "train/kl" not in logged:
        cli.trainer.callbacks[0].monitor = "train/kl"
        with pytest.raises(ValueError, match="nothing logs 'train/kl'"):
            check_monitors(cli.trainer, cli.model, cli.datamodule)


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_every_value_of_an_anchor_and_of_replay_may_be_monitored(runs: Runs, stage: str) -> None:
    from semalign_pl.cli.monitors import check_monitors

    probe = {**PROBE, "init_args": {"file": str(runs.corpus / "reading.json"), "every_n_steps": 1}}
    budget = {**BUDGET, "init_args": {**BUDGET["init_args"], "steers": "anchor"}}
    train = [str(runs.corpus / "train.jsonl"), {"path": str(runs.corpus / "dev.jsonl"), "replay": True}]
    general = runs.folder / "general.txt"  # the probe refuses text that is trained on
    general.write_text("今天天气很好。\n我们去山上看雪。\n", encoding="utf-8")
    flags = [f"model.init_args.anchor={json.dumps({'file': str(general), 'rows_per_step': 2})}"]
    flags += [f"data.init_args.train={json.dumps(train)}", "model.init_args.beta=0.1", "trainer.max_steps=1"]
    flags += ["model.init_args.max_new_tokens=40"]  # the references are replayed
    cli = runs("fit", stage, "run", *flags, callbacks=[EVALUATION, probe, drift(runs.corpus), budget])
    logged = {name for name in cli.trainer.callback_metrics if name.startswith("train/")}
    assert {"train/anchor_kl", "train/anchor_tokens", "train/anchor_weight"} < logged
    for name in (*logged, *(["train/replay_nll"] if stage == "grpo" else ["train/kl_to_reference"])):
        cli.trainer.callbacks[0].monitor = name
        check_monitors(cli.trainer, cli.model, cli.datamodule)


@pytest.mark.parametrize("by", ["max_steps=2", "max_epochs=1"])
def test_an_error_after_the_last_step_leaves_the_adapter(runs: Runs, by: str) -> None:
    """A user's callback may log any metric, so a wrong name is found only when the metric is read."""
    callbacks = [monitors("EarlyStopping", "mine/numbr"), {"class_path": "helpers.run_callbacks.Watcher"}]
    flags = [f"data.init_args.validation={runs.corpus / 'dev.jsonl'}", "data.init_args.limit=12", f"trainer.{by}"]
    with pytest.raises(RuntimeError, match="mine/numbr"):
        runs("fit", "sft", "run", *flags, callbacks=callbacks)
    assert any(weight.any() for name, weight in weights(runs.folder / "run").items() if "lora_B" in name)


def test_an_error_before_the_last_step_leaves_none(runs: Runs) -> None:
    callbacks = [monitors("EarlyStopping", "mine/numbr"), {"class_path": "helpers.run_callbacks.Watcher"}]
    flags = [f"data.init_args.validation={runs.corpus / 'dev.jsonl'}", "data.init_args.limit=12", "trainer.max_steps=5"]
    with pytest.raises(RuntimeError, match="mine/numbr"):
        runs("fit", "sft", "run", *flags, callbacks=callbacks)
    assert not (runs.folder / "run" / "adapter").exists()
