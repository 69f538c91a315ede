"""``semalign plan`` on real recipes: the table, JSON, the settings to overlay, and users' mistakes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cards
import pytest
import yaml

from semalign_pl.__main__ import main
from semalign_pl.messages.memory_amount import memory_bytes
from semalign_pl.plan.command import MARGIN, OVERHEAD_BYTES, changes, proposal
from semalign_pl.plan.meta_policy import encoder_bytes
from semalign_pl.plan.predict import predict, validation_peak
from semalign_pl.plan.recipe import settings_of

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted((CONFIGS / "cards").rglob("*.yaml"))


@pytest.fixture
def recipe(base, tmp_path) -> list[str]:
    """The paper's recipe with a tiny base, a tiny encoder and shorter rows."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models/cino-bo-zh").symlink_to(base)
    short = ["--model.init_args.max_prompt_tokens", "24", "--model.init_args.max_new_tokens", "16"]
    return ["--config", str(CONFIGS / "paper/semantic_grpo.yaml"), "--model.init_args.base", base, *short]


def test_table_json_and_overlay(recipe, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", *recipe, "--memory", "8GiB", "--json", "plan.json", "--overlay", "a/card.yaml"]) == 0
    shown = capsys.readouterr().out
    for part in ("weights", "adapters", "optimiser", "cache", "activations", "head", "encoder", "peak"):
        assert part in shown
    assert "weights: bf16 has a peak of " in shown and "; rollout_weights: dense has a peak of " in shown
    written = json.loads(Path("plan.json").read_text())
    sizes = written["bytes"]
    assert sizes["peak"] == sizes["weights"] + sizes["adapters"] + sizes["optimiser"] + sizes["encoder"] + max(
        sizes["rollout"], sizes["gradients"] + sizes["activations"] + sizes["head"]
    )
    overlay = yaml.safe_load(Path("a/card.yaml").read_text())["model"]["init_args"]
    assert set(overlay) == {"micro_batch_tokens", "recompute", "rollout_rows"}
    assert {name: written["proposal"][name] for name in overlay} == overlay
    behind = settings_of([*recipe, "--config", "a/card.yaml"])
    assert (behind.micro_batch_tokens, behind.rollout_rows) == (overlay["micro_batch_tokens"], overlay["rollout_rows"])
    assert predict(behind).peak == written["proposal"]["peak"]


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (["--memory", "lots"], "--memory: 'lots' is no amount of memory"),
        (["--memory", "12"], "--memory: '12' has no unit; write 12GiB"),
        (["--memory", "513MiB"], "do not hold this run"),
        (["--overlay", "x.yaml"], "--overlay: nothing is proposed without --memory"),
        (["--memory"], "--memory: the flag needs a value"),
        (["--model.init_args.base", "./none"], "model.init_args.base: there is no folder ./none"),
    ],
)
def test_mistakes_get_one_line(recipe, flags, answer, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", *recipe, *flags]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("semalign: error: ") and answer in said


def test_an_encoder_that_is_not_there_yet(recipe, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models/cino-bo-zh").unlink()
    encoder_bytes.cache_clear()  # the folder of another test had the same relative name
    assert main(["plan", *recipe]) == 2
    assert "SemanticReward.encoder: no config of 'models/cino-bo-zh' can be read" in capsys.readouterr().err


def test_what_earlier_stages_have_yet_to_write_is_named(recipe, tmp_path, monkeypatch, capsys) -> None:
    """A name of three parts is no hub id, so the folder is the result of a stage that is not done."""
    monkeypatch.chdir(tmp_path)
    reward = {"class_path": "SemanticReward", "init_args": {"encoder": "runs/embedder/encoder"}}
    Path("later.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": [reward]}}))
    later = [*recipe, "--config", "later.yaml", "--model.init_args.adapter", "runs/cold/adapter"]
    assert main(["plan", *later, "--model.init_args.lora", "null"]) == 0
    shown = capsys.readouterr().out
    assert "note: there is no encoder runs/embedder/encoder yet, so its memory is not counted; plan again when" in shown
    assert "note: there is no adapter runs/cold/adapter yet, so one of rank 64 is counted" in shown


def test_terms_that_are_not_counted_are_named(recipe, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("general.txt").write_text("老师看书。\n", encoding="utf-8")
    plain = [*recipe, "--data.init_args.validation", "null", "--trainer.callbacks", "null"]
    assert main(["plan", *plain]) == 0 and "not counted" not in capsys.readouterr().out
    assert main(["plan", *plain, "--model.init_args.anchor", '{"file": "general.txt"}']) == 0
    assert "note: the forwards of model.init_args.anchor are not counted" in capsys.readouterr().out


def test_validation_and_probes_are_named(recipe, tmp_path, monkeypatch, capsys) -> None:
    """A validation completes 64 prompts at once, more than the rollouts' 32, with a peak above the plan's."""
    monkeypatch.chdir(tmp_path)
    assert main(["plan", *recipe]) == 0
    shown = capsys.readouterr().out
    for name in ("Evaluation.encoder", "ReadingComprehensionProbe", "DriftProbe, which measures every 200 steps,"):
        assert f"note: the forwards of {name}" in shown
    assert "note: a validation completes 64 prompts at once (predicted peak " in shown
    settings = settings_of(recipe)
    fewer = settings_of([*recipe, "--data.init_args.eval_batch_size", "8"])
    assert (settings.validation_rows, fewer.validation_rows) == (64, 8)
    limited = settings_of([*recipe, "--data.init_args.eval_limit", "5"])
    assert limited.validation_rows == 5 and predict(limited) == predict(settings)
    resident = predict(settings).resident
    assert resident < validation_peak(limited) < validation_peak(fewer) < validation_peak(settings)
    assert validation_peak(replace(settings, validation_rows=1000)) == validation_peak(
        replace(settings, validation_rows=128)
    )


@pytest.mark.parametrize(
    "flags",
    [
        ["--data.init_args.validation", "null"],
        ["--trainer.limit_val_batches", "0"],
        ["--data.init_args.task", "RawText"],
        ["--data.init_args.validation", '[{"path": "text.txt", "task": {"class_path": "RawText"}}]'],
    ],
)
def test_a_fit_without_completions_in_validation(recipe, flags, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = settings_of([*recipe, *flags])
    assert settings.validation_rows == 0 and not any("Evaluation" in note for note in settings.notes)


def test_accelerator_auto_is_planned_for_a_gpu_with_memory(recipe, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    auto = [*recipe, "--trainer.accelerator", "auto"]

    def plan(*flags: str) -> tuple[bool, str]:
        assert main(["plan", *flags, "--json", "plan.json"]) == 0
        return json.loads(Path("plan.json").read_text())["settings"]["cuda"], capsys.readouterr().out

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    cuda, shown = plan(*auto, "--memory", "8GiB")
    assert cuda and "note: trainer.accelerator is auto, and this plan is for a GPU" in shown
    cuda, shown = plan(*auto)
    assert not cuda and "is for a CPU; for the other, give --trainer.accelerator gpu" in shown
    assert plan(*recipe, "--trainer.accelerator", "cpu", "--memory", "8GiB")[0] is False
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert plan(*auto)[0] and not plan(*recipe, "--trainer.accelerator", "cpu")[0]
    assert "accelerator is auto" not in plan(*recipe)[1]


def test_every_model_of_a_reward_is_counted(recipe, base, tmp_path, monkeypatch) -> None:
    from transformers import AutoModel, AutoModelForCausalLM

    monkeypatch.chdir(tmp_path)
    extra = [
        {"class_path": "CrossEncoderReward", "init_args": {"encoder": base}},
        {"class_path": "RerankerReward", "init_args": {"judge": base, "weights": "bf16"}},
        {"class_path": "JudgeReward", "init_args": {"judge": f"local:{base}", "weights": "fp32"}},
    ]
    Path("extra.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": extra}}))
    alone, judged = settings_of(recipe), settings_of([*recipe, "--config", "extra.yaml"])
    assert alone.cuda and predict(alone).encoder == 2 * AutoModel.from_pretrained(base).num_parameters()
    more = 4 * AutoModel.from_pretrained(base).num_parameters()
    more += (2 + 4) * AutoModelForCausalLM.from_pretrained(base).num_parameters()
    assert predict(judged).encoder - predict(alone).encoder == more


def test_an_encoder_is_not_planned(capsys) -> None:
    assert main(["plan", "--config", str(CONFIGS / "embedder.yaml")]) == 2
    assert "EmbedderModule trains no policy" in capsys.readouterr().err.splitlines()[-1]


def test_amounts_of_memory() -> None:
    assert memory_bytes("12GiB") == memory_bytes("12 GB") == memory_bytes("12g") == 12 * 2**30
    assert memory_bytes("800MiB") == 800 * 2**20 and memory_bytes("1.5gib") == 3 * 2**29
    for wrong in ("", "GiB", "0GiB", "-1GiB", "12TiB", "1.2.3G", ".GiB", "1000", "12.5", "12B", "9" * 400 + "G"):
        with pytest.raises(ValueError):
            memory_bytes(wrong)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """Configs as on the hub; one folder for all tests, so that predictions are cached."""
    return tmp_path_factory.mktemp("published")


@pytest.mark.slow
@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_shipped_cards_fit(path, published, monkeypatch) -> None:
    monkeypatch.chdir(published)
    name, card = path.parent.name.rsplit("-", 1)
    recipe = cards.recipe(path.stem, name, published)
    options = yaml.safe_load(path.read_text())["model"]["init_args"]
    assert options["base"] == cards.MODELS[name]
    settings = settings_of(["--config", recipe[1], "--config", str(path), *recipe[2:]])
    assert (settings.micro_batch_tokens, settings.recompute) == (options["micro_batch_tokens"], options["recompute"])
    assert predict(settings).peak + OVERHEAD_BYTES <= int(card.removesuffix("gb")) * 2**30 * MARGIN


@pytest.mark.slow
@pytest.mark.parametrize("stage", cards.RECIPES)
def test_shipped_cards_are_the_proposals(stage, published, monkeypatch) -> None:
    monkeypatch.chdir(published)
    assert len(SHIPPED) == len(cards.MODELS) * len(cards.CARDS_GIB) * len(cards.RECIPES)
    proposed, _ = proposal(settings_of(cards.recipe(stage, "qwen3-0.6b", published)), 12 * 2**30)
    shipped = yaml.safe_load((CONFIGS / f"cards/qwen3-0.6b-12gb/{stage}.yaml").read_text())["model"]["init_args"]
    assert changes(proposed) == {name: value for name, value in shipped.items() if name != "base"}
