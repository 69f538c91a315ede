"""The prompt encoder that is loaded without weights is the one of the loaded policy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.tiny import CPU

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.policy.adapter import export_adapter
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.load_encoder import load_prompt_encoder
from semalign_pl.policy.settings import LoraSettings, VocabularySettings
from semalign_pl.types import Prompt, Turn

LORA = LoraSettings(4, 8, 0.0)
PROMPTS: list[Prompt] = ["老师看书。", "དགེ་རྒན་གྱིས་དཔེ་ཆ་བལྟས།", "a<|im_end|>b", [Turn("system", "x"), Turn("user", "书")]]
TEXTS = ["བཀྲ་ཤིས་བདེ་ལེགས།", "", "7", "老师看书。"]


@pytest.fixture
def settings(tmp_path: Path) -> VocabularySettings:
    path = tmp_path / "tibetan.jsonl"
    path.write_text(json.dumps({"bo": "བཀྲ་ཤིས་བདེ་ལེགས། དགེ་རྒན་གྱིས་དཔེ་ཆ་བལྟས།" * 3}) + "\n", encoding="utf-8")
    return VocabularySettings("bo", str(path), "bo", tokens=8, min_count=2)


@pytest.fixture
def weightless(base: str, tmp_path: Path) -> str:
    """Copy of the base without its weight file."""
    folder = Path(shutil.copytree(base, tmp_path / "weightless"))
    for file in folder.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(ValueError, match=r"cannot load"):
        load_policy(str(folder), "fp32", LORA, None, CPU)
    return str(folder)


def assert_same(one: PromptEncoder, other: PromptEncoder) -> None:
    for limit in (1000, 40):
        assert one.encode_prompts(PROMPTS, limit) == other.encode_prompts(PROMPTS, limit)
    completions = one.encode_completions(TEXTS)
    assert completions == other.encode_completions(TEXTS)
    assert one.decode(completions) == other.decode(completions) == TEXTS
    assert (one.eos_ids, one.pad_id, one.new_tokens) == (other.eos_ids, other.pad_id, other.new_tokens)
    assert one.signature() == other.signature()


@pytest.mark.parametrize("kind", ["base", "new tokens", "adapter", "adapter with new tokens"])
def test_without_weights_as_with_them(
    kind: str, base: str, weightless: str, sft_adapter: str, settings: VocabularySettings, tmp_path: Path
) -> None:
    adapter = sft_adapter if kind == "adapter" else None
    vocabulary = settings if kind == "new tokens" else None
    if kind == "adapter with new tokens":
        torch.manual_seed(0)
        export_adapter(load_policy(base, "fp32", LORA, None, CPU, settings), tmp_path / "grown")
        adapter = str(tmp_path / "grown")
    policy = load_policy(base, "fp32", None if adapter else LORA, adapter, CPU, vocabulary)
    alone = load_prompt_encoder(weightless, adapter, vocabulary)
    assert_same(alone, policy.encoder)
    assert len(alone.new_tokens) == (8 if "new tokens" in kind else 0)
    assert (policy.eos_ids, policy.pad_id) == (alone.eos_ids, alone.pad_id)


@pytest.mark.parametrize("configured", ["none", "one", "several", "in config.json"])
def test_stop_tokens_are_those_of_the_loaded_model(configured: str, base: str, tmp_path: Path) -> None:
    """Oracle: the generation config of the model that transformers loads."""
    from transformers import AutoModelForCausalLM

    folder = Path(shutil.copytree(base, tmp_path / "base"))
    file, config_file = folder / "generation_config.json", folder / "config.json"
    file.unlink()
    config = json.loads(config_file.read_text())
    config.pop("eos_token_id", None)
    if configured == "in config.json":
        config["eos_token_id"] = 7
    elif configured != "none":
        file.write_text(json.dumps({"eos_token_id": 9 if configured == "one" else [9, 11]}))
    config_file.write_text(json.dumps(config))
    theirs = AutoModelForCausalLM.from_pretrained(folder).generation_config.eos_token_id
    listed = theirs if isinstance(theirs, list) else [theirs]
    ours = load_prompt_encoder(str(folder))
    own = ours.tokenizer.eos_token_id
    assert ours.eos_ids == tuple(dict.fromkeys([own, *(i for i in listed if i is not None)]))
    assert len(ours.eos_ids) == {"none": 1, "one": 2, "several": 3, "in config.json": 2}[configured]


@pytest.mark.parametrize(
    ("adapter", "message"),
    [
        ("nowhere", r"^model\.init_args\.adapter: nowhere is not an adapter folder"),
        ("", r"^model\.init_args\.vocabulary: .* was trained without new tokens"),
    ],
)
def test_refusals(base: str, sft_adapter: str, settings: VocabularySettings, adapter: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_prompt_encoder(base, adapter or sft_adapter, settings)
