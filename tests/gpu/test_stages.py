"""Runs by recipe on CUDA against the same runs on the CPU: every reward, calibration, every stage, judge, chat."""

import json
import math

import pytest
import torch
from helpers.pairs import PAIRS
from helpers.small_runs import Runs, weights
from helpers.tiny import CPU, relative
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from semalign_pl.cli import main

DEVICES = ("cpu", "gpu")


def fit_on(runs: Runs, device: str, recipe: dict, steps: int) -> dict[str, float]:
    """Fit a recipe on a device, in a folder of its own; return what its last step logged."""
    path = runs.write(recipe, device)
    flags = [f"--trainer.default_root_dir={runs.folder / device}", f"--trainer.accelerator={device}"]
    main(["fit", "--config", str(path), *flags, f"--trainer.max_steps={steps}"])
    return {
        name: float(value)
        for name, value in runs.metrics(device)[-1].items()
        if value and name.startswith("train/") and not name.startswith(("train/time", "train/memory"))
    }


@pytest.fixture
def crossed(base: str, tmp_path) -> str:
    """Folder of a random cross-encoder."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=96, num_labels=1, **sizes)
    tokenizer.chat_template = None
    for part in (tokenizer, BertForSequenceClassification(config)):
        part.save_pretrained(tmp_path / "crossed")
    return str(tmp_path / "crossed")


def test_a_grpo_step_with_every_reward(runs: Runs, crossed: str, monkeypatch, within) -> None:
    """In float32 both devices sample the same completions, so each reward's mean is the same, too."""
    (runs.folder / "rewards_on_gpu.py").write_text(
        "def brevity(completions, **_):\n    return [-len(x) for x in completions]\n"
    )
    monkeypatch.syspath_prepend(str(runs.folder))
    rewards = {
        "LengthReward": {},
        "OverlapReward": {"metric": "chrf"},
        "RepetitionReward": {},
        "FunctionReward": {"function": "rewards_on_gpu.brevity"},
        "FeatureMatchingReward": {},
        "RerankerReward": {"judge": runs.base, "weights": "fp32", "yes": "y", "no": "n"},
        "CrossEncoderReward": {"encoder": crossed},
        "JudgeReward": {"judge": f"local:{runs.base}", "weights": "fp32"},
    }
    callbacks = [{"class_path": name, "init_args": options} for name, options in rewards.items()]
    here, there = (fit_on(runs, device, runs.recipe("grpo", callbacks), 1) for device in DEVICES)
    scored = [name for name in here if name.startswith("train/reward/")]
    assert len(scored) >= len(rewards) + 2 and here.keys() == there.keys()
    for name in scored:
        # Sentence encoders compute in half precision on CUDA, judges' probabilities are rounded.
        tolerance = 1e-2 * max(1.0, abs(here[name]))
        assert math.isnan(here[name]) == math.isnan(there[name]), name
        if not math.isnan(here[name]):
            within(name, abs(there[name] - here[name]), tolerance)


def test_a_calibrated_tau(runs: Runs, within) -> None:
    recipe = runs.recipe("grpo")
    recipe["trainer"]["callbacks"][0]["init_args"] |= {"tau": {"quantile": 0.25, "samples": 12}, "cache": None}
    here, there = (fit_on(runs, device, recipe, 1) for device in DEVICES)
    within("tau", abs(there["train/tau"] - here["train/tau"]), 1e-2)


@pytest.mark.parametrize("kind", ["anchor", "distill", "continued pretraining", "embedder"])
def test_a_run(kind: str, runs: Runs, sft_adapter: str, within) -> None:
    """Losses and trained weights after three steps; SGD, as Adam would magnify rounding of gradients near zero."""
    recipe, file = runs.recipe("sft"), runs.folder / "general.txt"
    file.write_text("\n".join(pair["zh"] for pair in PAIRS[:20]) + "\n", encoding="utf-8")
    model = recipe["model"]["init_args"]
    model |= {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}}
    if kind == "anchor":
        model |= {"anchor": {"file": str(file), "rows_per_step": 4}, "lora": {"r": 4, "alpha": 8, "dropout": 0.0}}
    elif kind == "distill":
        del model["lora"]
        model |= {"adapter": sft_adapter, "max_new_tokens": 6, "num_generations": 2, "teacher": "base"}
        recipe["model"]["class_path"] = "DistillModule"
    elif kind == "continued pretraining":
        model |= {"lora": {"r": 4, "alpha": 8, "dropout": 0.0}}
        task = {"class_path": "RawText", "init_args": {"language": "zh"}}
        recipe["data"]["init_args"] |= {"train": {"path": str(file), "task": task}}
    else:
        optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01}}
        settings = {"base": runs.encoder, "micro_batch": 16, "optimizer": optimizer}
        recipe["model"] = {"class_path": "EmbedderModule", "init_args": settings}
        recipe["data"]["init_args"]["batch_size"] = 16
    here, there = (fit_on(runs, device, recipe, 3) for device in DEVICES)
    assert here.keys() == there.keys() and "train/loss" in here
    within("loss", abs(there["train/loss"] - here["train/loss"]), 1e-3 * max(1.0, abs(here["train/loss"])))
    if kind != "embedder":
        trained = [weights(runs.folder / device) for device in DEVICES]
        moved = [name for name in trained[0] if "lora_B" in name]
        assert all(trained[0][name].norm() > 0 for name in moved)
        for name in moved:
            within(name, relative(trained[1][name], trained[0][name]), 1e-3)


def test_a_local_judge(base: str, tmp_path, within) -> None:
    from semalign_pl.judge.local import LocalModel
    from semalign_pl.judge.question import PAIRWISE, Question

    question = Question("Be fair.", "Which one?", *PAIRWISE)
    here, there = (
        LocalModel(base, tmp_path / "digests.json", "fp32", device).choose(question).probabilities
        for device in (CPU, "cuda")
    )
    within("probabilities", float((torch.tensor(there) - torch.tensor(here)).abs().max()), 1e-4)


def test_translate_and_chat(runs: Runs, monkeypatch, capsys) -> None:
    """A run that was trained on the CPU answers the same on CUDA, which a recipe without an accelerator chooses."""
    import io

    import yaml

    from semalign_pl.__main__ import main as semalign

    runs("fit", "sft", "run")
    fitted, answers = runs.folder / "run" / "fit.yaml", []
    for accelerator in ("cpu", "auto"):
        recipe = yaml.safe_load(fitted.read_text(encoding="utf-8"))
        recipe["trainer"]["accelerator"] = accelerator
        fitted.write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
        capsys.readouterr()
        assert semalign(["translate", str(runs.folder / "run"), "--text", "老师在学校看书。"]) == 0
        monkeypatch.setattr("sys.stdin", io.StringIO("你好\n老师看书。\n"))
        assert semalign(["chat", str(runs.folder / "run")]) == 0
        answers.append(capsys.readouterr().out)
    assert answers[0] and answers[0] == answers[1]


def test_continuing_on_the_cpu_what_began_on_cuda(runs: Runs) -> None:
    """A checkpoint's tensors are read onto the device of the run that goes on."""
    callbacks = [runs.checkpoints("first", 2)]
    runs("fit", "grpo", "first", "trainer.accelerator=gpu", "trainer.max_steps=2", callbacks=callbacks)
    at_two = runs.folder / "first" / "step=2.ckpt"
    cli = runs("fit", "grpo", "second", "trainer.accelerator=cpu", "trainer.max_steps=3", f"ckpt_path={at_two}")
    assert cli.trainer.global_step == 3
    assert json.loads((runs.folder / "second" / "adapter" / "adapter_config.json").read_text())["r"] == 4
