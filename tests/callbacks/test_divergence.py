"""A diverging run warns at once, stops at numbers that are not finite, and never ends with success."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import Runs, assert_same, weights

import semalign_pl.toy
from semalign_pl.__main__ import main

LR = "model.init_args.optimizer.init_args.lr"


def error(capfd: pytest.CaptureFixture[str], args: list[str]) -> str:
    """The one line on stderr of a command that fails with status 2."""
    capfd.readouterr()
    assert main(args) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("semalign: error: ")]
    assert len(lines) == 1
    return lines[0]


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "semalign_pl.callbacks.divergence"]


def assert_nothing_to_go_on_with(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    """Neither an export nor a checkpoint of the training that diverged, and no advice to go on with it."""
    assert not (runs.folder / "run" / "adapter").exists()
    assert not list((runs.folder / "run").rglob("interrupted.ckpt"))
    assert "go on with" not in caplog.text


def reward(function: str) -> dict[str, Any]:
    return {"class_path": "FunctionReward", "init_args": {"function": f"reward_functions.{function}"}}


@pytest.fixture
def functions(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a module of rewards: one without any score, one constant, and one that scores in one step only."""
    text = """
def none(completions, **columns): return [None] * len(completions)
def nan(completions, **columns): return [float("nan")] * len(completions)
def infinite(completions, **columns): return [float("-inf")] * len(completions)
def equal(completions, **columns): return [0.25] * len(completions)
def position(completions, **columns): return [float(i) for i in range(len(completions))]
"""
    (runs.folder / "reward_functions.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(str(runs.folder))
    monkeypatch.delitem(__import__("sys").modules, "reward_functions", raising=False)


def grpo(runs: Runs, name: str, function: str, *flags: str) -> list[str]:
    """Command line of GRPO with one reward."""
    recipe = runs.recipe("grpo")
    recipe["trainer"]["callbacks"] = [reward(function)]
    path = runs.write(recipe, name)
    return [
        "fit",
        "--config",
        str(path),
        f"--trainer.default_root_dir={runs.folder / name}",
        *(f"--{f}" for f in flags),
    ]


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_a_diverging_run_is_warned_about_once(runs: Runs, caplog: pytest.LogCaptureFixture, decay: float) -> None:
    """At lr 100 the policy becomes uniform, with a loss of ln(1728) = 7.45 and no gradient.

    Weight decay keeps it from that, and what its losses are then depends on how a machine rounds; the message must give
    the numbers that the run wrote.
    """
    base = Path(semalign_pl.toy.__file__).parent / "weights" / "base"
    rates = [f"{LR}=100", f"model.init_args.optimizer.init_args.weight_decay={decay}", f"model.init_args.base={base}"]
    runs("fit", "sft", "run", *rates, "trainer.max_steps=10")
    rows = runs.metrics()
    losses, norms = ([float(row[f"train/{name}"]) for row in rows] for name in ("loss", "grad_norm"))
    if decay:
        mean = sum(losses[:5]) / 5
        assert losses[0] == pytest.approx(10.02, abs=0.01) and 13 < mean < 13.6
        said = f"step 5: the loss is {mean:.2f}, the mean of 5 steps, and was 10.02 in the first one"
    else:
        assert norms[2:] == [0.0] * 8 and losses[2:] == pytest.approx([math.log(1728)] * 8, abs=1e-3)
        said = "step 7: the gradient norm was exactly 0 in the last 5 steps"
    (message,) = warned(caplog)
    assert message.startswith(said) and "lower" in message


def test_no_gradient_is_warned_about_once(runs: Runs, functions: None, caplog: pytest.LogCaptureFixture) -> None:
    """Without a KL term, groups with equal rewards have no gradient."""
    assert main(grpo(runs, "run", "equal", "model.init_args.beta=0", "trainer.max_steps=8")) == 0
    equal, zero = warned(caplog)
    assert equal.startswith("step 1: the completions of every prompt had equal rewards (mean 0.25)")
    assert zero.startswith("step 5: the gradient norm was exactly 0 in the last 5 steps")


def test_a_healthy_run_is_not_warned_about(runs: Runs, functions: None, caplog: pytest.LogCaptureFixture) -> None:
    runs("fit", "sft", "sft", "trainer.max_steps=8")
    assert main(grpo(runs, "grpo", "position", "trainer.max_steps=6")) == 0
    assert warned(caplog) == []


@pytest.mark.parametrize("function", ["none", "nan"])
def test_a_run_without_any_score_fails(
    runs: Runs, functions: None, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, function: str
) -> None:
    line = error(capfd, grpo(runs, "run", function))
    assert "no reward scored any completion in the run's 3 steps" in line
    (message,) = warned(caplog)
    assert message.startswith("step 1: no reward scored any of the 4 completions")
    assert_nothing_to_go_on_with(runs, caplog)
    assert error(capfd, [*grpo(runs, "run", function), "--resume"]) == line, "it is no finished run"
    assert not (runs.folder / "run" / "adapter").exists()


def test_a_run_without_any_score_stops_after_twenty_steps(
    runs: Runs, functions: None, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    line = error(capfd, grpo(runs, "run", "none", "trainer.max_steps=1000", "model.init_args.max_new_tokens=1"))
    assert "in the run's 20 steps" in line
    assert_nothing_to_go_on_with(runs, caplog)


def test_infinite_rewards_fail(runs: Runs, functions: None, capfd: pytest.CaptureFixture[str]) -> None:
    line = error(capfd, grpo(runs, "run", "infinite"))
    assert "returned -inf, infinite in float32" in line and not (runs.folder / "run" / "adapter").exists()


# -- weights that are not finite -----------------------------------------------------------------------------------


def poison(step: int) -> dict[str, Any]:
    """Callback that puts a NaN into the trained weights after a step, as a diverged update would."""
    return {"class_path": "helpers.run_callbacks.Poison", "init_args": {"step": step}}


def test_a_rate_beyond_float32_stops_the_run(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    line = error(capfd, runs.args("fit", "sft", "run", f"{LR}=1e37", "trainer.max_steps=4"))
    assert "step 1: the norm of the trained weights is inf at a learning rate of 1e+37" in line
    assert not (runs.folder / "run" / "adapter").exists()


def test_a_diverged_run_leaves_no_checkpoint_to_go_on_from(
    runs: Runs, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Its weights are still finite, one by one; a lower rate would be refused on resuming."""
    line = error(capfd, runs.args("fit", "sft", "run", f"{LR}=1e37", "trainer.max_steps=4"))
    assert "start again in another folder; semalign export" in line
    assert not list((runs.folder / "run").rglob("interrupted.ckpt"))
    assert not any("go on with" in record.getMessage() for record in caplog.records)


def test_nan_weights_are_not_exported(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    """NaN in the last step: no later loss shows it. The adapter from before the run was resumed is unchanged."""
    runs("fit", "sft", "run", "trainer.max_steps=1")
    before = weights(runs.folder / "run")
    line = error(capfd, runs.args("fit", "sft", "run", "ckpt_path=last", callbacks=[poison(3)]))
    assert "is not written" in line and "NaN or infinity in base_model.model" in line and "lora_" in line
    assert_same(weights(runs.folder / "run"), before)


def test_nan_weights_make_no_checkpoint(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    callbacks = [poison(2), runs.checkpoints("run", 1)]
    line = error(capfd, runs.args("fit", "sft", "run", callbacks=callbacks))
    assert "the checkpoint is not written" in line and "lora_" in line
    assert sorted(path.name for path in (runs.folder / "run").glob("*.ckpt")) == ["step=1.ckpt"]


def test_without_the_callback_export_refuses_too(base: str, tmp_path: Path) -> None:
    """From Python, the run may have none of our callbacks."""
    from helpers.tiny import CPU

    from semalign_pl.modules import SFTModule
    from semalign_pl.policy.load import load_policy
    from semalign_pl.policy.settings import LoraSettings

    module = SFTModule(base, weights="fp32")
    module._policy = load_policy(base, "fp32", LoraSettings(4, 8, 0.0), None, CPU)
    next(p for p in module.parameters() if p.requires_grad).data[0, 0] = float("inf")
    with pytest.raises(ValueError, match=f"{tmp_path}/adapter is not written: .* NaN or infinity in base_model"):
        module.export(tmp_path)
    assert not (tmp_path / "adapter").exists()


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_checkpoint_with_nan_is_not_loaded(runs: Runs, capfd: pytest.CaptureFixture[str], command: str) -> None:
    runs("fit", "sft", "run", "trainer.max_steps=1", callbacks=[runs.checkpoints("run", 1)])
    path = runs.folder / "run" / "step=1.ckpt"
    saved = torch.load(path, weights_only=True)
    name = next(iter(saved["state_dict"]))
    saved["state_dict"][name][0, 0] = float("nan")
    torch.save(saved, path)
    line = error(capfd, runs.args(command, "sft", "run", f"ckpt_path={path}", callbacks=[{"class_path": "Evaluation"}]))
    assert f"--ckpt_path: {path} holds NaN or infinity in {name}" in line
    assert not (runs.folder / "run" / "results.json").exists()


@pytest.mark.parametrize("use", ["reward", "base"])
def test_an_encoder_with_nan_is_not_loaded(runs: Runs, capfd: pytest.CaptureFixture[str], use: str) -> None:
    from sentence_transformers import SentenceTransformer

    broken = SentenceTransformer(runs.encoder, device="cpu")
    with torch.no_grad():
        next(broken.parameters())[0, 0] = float("nan")
    folder = runs.folder / "broken"
    broken.save(str(folder), create_model_card=False)
    if use == "reward":
        callbacks = [{"class_path": "SemanticReward", "init_args": {"encoder": str(folder)}}]
        recipe = runs.recipe("grpo")
        recipe["trainer"]["callbacks"] = callbacks
    else:
        recipe = runs.recipe("sft")
        recipe["model"] = {"class_path": "EmbedderModule", "init_args": {"base": str(folder)}}
    line = error(capfd, ["fit", "--config", str(runs.write(recipe)), f"--trainer.default_root_dir={runs.folder}/run"])
    assert str(folder) in line and "holds NaN or infinity in 0." in line


# -- JSON ----------------------------------------------------------------------------------------------------------


def strict(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("kind", ["results", "training", "predictions", "alarms", "completions", "report"])
def test_files_are_json_whatever_the_numbers(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    """A number that is not finite becomes null in the file, and a warning names file and key."""
    from semalign_pl.callbacks.reward_alarm import append_alarms
    from semalign_pl.callbacks.scored_rows import write_predictions
    from semalign_pl.data.storing.cache import get_or_make
    from semalign_pl.run.results import write_results, write_training
    from semalign_pl.types import MetricResult

    nan, inf = float("nan"), float("inf")
    if kind == "results":
        write_results(tmp_path, {"cmrc_f1": MetricResult(nan, (0.0, inf), "s")}, {"rows": 1})
        (read,), key = [strict((tmp_path / "results.json").read_text())], "metrics.cmrc_f1.value"
        assert read["metrics"]["cmrc_f1"]["value"] is None and read["metrics"]["cmrc_f1"]["ci"] == [0.0, None]
    elif kind == "training":
        write_training(tmp_path, reward_trials={"semantic": {"accuracy": -inf, "pairs": 2}})
        read, key = strict((tmp_path / "training.json").read_text()), "reward_trials.semantic.accuracy"
        assert read["reward_trials"] == {"semantic": {"accuracy": None, "pairs": 2}}
    elif kind == "predictions":
        write_predictions(tmp_path / "predictions.jsonl", [{"id": "a", "scores": {"bleu4": nan}}])
        read, key = strict((tmp_path / "predictions.jsonl").read_text()), "scores.bleu4"
        assert read == {"id": "a", "scores": {"bleu4": None}}
    elif kind == "alarms":
        append_alarms(tmp_path / "reward_watch.jsonl", [{"step": 3, "now": {"reward": inf}}])
        read, key = strict((tmp_path / "reward_watch.jsonl").read_text()), "now.reward"
        assert read == {"step": 3, "now": {"reward": None}}
    elif kind == "completions":
        from semalign_pl.files.json_text import to_json

        read, key = (
            strict(to_json({"extra": {"length": (nan, 1)}}, "completions.jsonl", default=str)),
            "extra.length[0]",
        )
        assert read == {"extra": {"length": [None, 1]}}
    else:
        folder = get_or_make(tmp_path / "made", lambda made: {"share": inf})
        read, key = strict((folder / "report.json").read_text()), "share"
        assert read == {"share": None}
    (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert key in record.getMessage() and ".json" in record.getMessage()
