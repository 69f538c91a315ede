"""Commands on the pretended device: training with every reward, resuming, every probe, chat and translation."""

from __future__ import annotations

import io
import sys
from types import ModuleType

import pytest
import torch
from helpers.judge_server import serving
from helpers.pretend_device import PretendedDevice
from helpers.pretend_modes import PRETENDED
from helpers.small_runs import Runs, weights
from helpers.tiny import relative
from transformers import BertConfig, BertForSequenceClassification

from semalign_pl.__main__ import main

GPU = "trainer.accelerator=gpu"


@pytest.fixture
def cross_encoder(tokenizer, tmp_path) -> str:
    """Folder of a random BERT with one label."""
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    folder = tmp_path / "crossed"
    BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), num_labels=1, **small)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink()
    return str(folder)


def test_sft_resumed_tested_and_used(runs: Runs, monkeypatch, capsys) -> None:
    """The weights are the CPU's up to rounding, and a resumed run ends with those of a straight one."""
    runs("fit", "sft", "cpu", "trainer.max_steps=2", "model.init_args.lora.dropout=0")
    with PretendedDevice() as device:
        straight = [GPU, "trainer.max_steps=2", "model.init_args.lora.dropout=0"]
        cli = runs("fit", "sft", "straight", *straight, callbacks=[runs.checkpoints("straight", 1)])
        assert cli.trainer.strategy.root_device.type == "cuda"
        runs("fit", "sft", "resumed", *straight, f"ckpt_path={runs.folder}/straight/step=1.ckpt")
        # The finished run is found and loaded onto the device.
        assert main(["translate", str(runs.folder / "straight"), "--text", "老师看书。"]) == 0
        monkeypatch.setattr(sys, "stdin", io.StringIO("老师看书。\n"))
        assert main(["chat", str(runs.folder / "straight")]) == 0
    assert any("generate.py" in line for line in device.by_line())
    of_cpu, of_straight, of_resumed = (weights(runs.folder / name) for name in ("cpu", "straight", "resumed"))
    for name, weight in of_straight.items():
        assert relative(weight, of_cpu[name]) < 1e-3 and torch.equal(weight, of_resumed[name]), name


def test_grpo_with_every_reward(runs: Runs, cross_encoder: str, monkeypatch) -> None:
    """With autocast; the models of the rewards are on the device too, and in 4 bits where that is the default."""
    own = ModuleType("rewards_of_mine")
    setattr(own, "lengths", lambda completions, **_: torch.tensor([*map(len, completions)], device=PRETENDED))  # noqa: B010
    monkeypatch.setitem(sys.modules, "rewards_of_mine", own)
    with serving(lambda prompt: "SCORE: 3") as server, PretendedDevice():
        rewards = [
            {"class_path": "SemanticReward", "init_args": {"encoder": runs.encoder, "tau": {"samples": 4}}},
            {"class_path": "LanguageReward"},
            {"class_path": "OverlapReward"},
            {"class_path": "LengthReward"},
            {"class_path": "RepetitionReward"},
            {"class_path": "FeatureMatchingReward"},
            {"class_path": "FunctionReward", "init_args": {"function": "rewards_of_mine.lengths"}},
            {"class_path": "CrossEncoderReward", "init_args": {"encoder": cross_encoder}},
            {"class_path": "RerankerReward", "init_args": {"judge": runs.base, "yes": "y", "no": "n"}},
            {"class_path": "JudgeReward", "init_args": {"judge": f"m@{server.url}"}},
        ]
        recipe = runs.recipe("grpo")
        recipe["trainer"] |= {"callbacks": rewards, "accelerator": "gpu", "precision": "bf16-mixed", "max_steps": 2}
        root = f"--trainer.default_root_dir={runs.folder / 'run'}"
        assert main(["fit", "--config", str(runs.write(recipe)), root]) == 0
    last = runs.metrics()[-1]
    scored = {name for name, value in last.items() if name.startswith("train/reward/") and value not in ("", "nan")}
    assert len(scored) >= 10, scored
