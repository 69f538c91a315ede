"""Bases that are already quantised, are adapters, have fewer rows than their tokenizer has tokens, or give NaN."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.tiny import CPU, gradient, relative, stir, trained
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from semalign_pl.policy.causal_lm import load_tokenizer
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.settings import LoraSettings

LORA = LoraSettings(4, 8, 0.0)
IDS = torch.tensor([[3, 19, 7, 2, 30, 11, 5]])
QUANTISED = {
    "bitsandbytes, 8 bits": {"load_in_8bit": True},
    "bitsandbytes, 4 bits": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
}


def logits(model: Any) -> Tensor:
    model.eval()
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits.float()


@pytest.fixture
def copied(base, tmp_path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "copied"))


@pytest.mark.parametrize("weights", ["fp32", "bf16", "nf4"])
@pytest.mark.parametrize("kind", QUANTISED)
def test_a_quantised_checkpoint_keeps_its_own_quantisation(kind, weights, base, copied, caplog) -> None:
    model = AutoModelForCausalLM.from_pretrained(
        base, quantization_config=BitsAndBytesConfig(**QUANTISED[kind]), dtype=torch.float32, device_map={"": CPU}
    )
    plain = logits(AutoModelForCausalLM.from_pretrained(base))
    model.save_pretrained(copied)
    with caplog.at_level(logging.WARNING):
        policy = load_policy(str(copied), weights, LORA, None, CPU)
    assert f"quantised already ({kind})" in caplog.text and f"`weights: {weights}`" in caplog.text
    dtype = torch.bfloat16 if weights == "bf16" else torch.float32
    own = AutoModelForCausalLM.from_pretrained(copied, dtype=dtype, device_map={"": CPU})
    with policy.inference():
        assert relative(logits(policy.model), logits(own)) < 0.02
        assert relative(logits(policy.model), plain) < 0.2  # raw codes taken as weights give 0.6 and more
    policy.train()
    policy.model(input_ids=IDS).logits.float().square().mean().backward()
    assert torch.isfinite(gradient(policy)).all() and gradient(policy).norm() > 0


def test_gradients_through_eight_bits_are_those_of_the_dequantised_twin(base, copied) -> None:
    """LLM.int8 rounds activations too, so results differ in the last digits."""
    AutoModelForCausalLM.from_pretrained(
        base, quantization_config=BitsAndBytesConfig(load_in_8bit=True), dtype=torch.float32, device_map={"": CPU}
    ).save_pretrained(copied)
    quantised = stir(load_policy(str(copied), "fp32", LORA, None, CPU), seed=4)
    twin = stir(load_policy(base, "fp32", LORA, None, CPU), seed=4)
    twins = dict(twin.named_modules())
    found = []
    with torch.no_grad():
        for name, weight in trained(quantised).items():
            trained(twin)[name].copy_(weight)
        for name, module in quantised.named_modules():
            if type(module).__name__ == "Linear8bitLt" and name.endswith("base_layer"):
                scale = module.weight.SCB if module.state.SCB is None else module.state.SCB
                twins[name].weight.copy_(module.weight.data * scale.view(-1, 1) / 127)
    for policy in (quantised, twin):
        out = policy.model(input_ids=IDS).logits.float()
        (out * torch.arange(out.numel()).view(out.shape).sin()).sum().backward()
        found.append(gradient(policy))
    assert relative(*found) < 0.05


@pytest.mark.parametrize("method", ["gptq", "awq", "fp8", "compressed-tensors", "mxfp4", "torchao", "unheard-of"])
@pytest.mark.parametrize("weights", ["fp32", "nf4"])
def test_other_quantisations_are_refused(weights, method, copied) -> None:
    config = json.loads((copied / "config.json").read_text())
    config["quantization_config"] = {"quant_method": method, "bits": 4, "group_size": 32}
    (copied / "config.json").write_text(json.dumps(config))
    refused(str(copied), rf"is quantised by {method}.*give the unquantised model, and `weights: nf4`", weights)


def refused(base: str, message: str, weights: Any = "fp32", adapter: str | None = None) -> None:
    with pytest.raises(ValueError, match=rf"^model\.init_args\.(base|adapter): .*{message}") as refusal:
        load_policy(base, weights, None if adapter else LORA, adapter, CPU)
    assert "\n" not in str(refusal.value)


def test_a_base_that_is_an_adapter_is_refused(base, sft_adapter, copied) -> None:
    """Alone it would be its base without the adapter; inside a base it would be frozen under the new adapter."""
    refused(sft_adapter, "holds an adapter .*give it as model.init_args.adapter")
    for file in Path(sft_adapter).iterdir():
        shutil.copy(file, copied / file.name)
    refused(str(copied), "holds an adapter .*give it as model.init_args.adapter")
    with pytest.raises(ValueError, match=r"^RerankerReward\.judge: .* holds an adapter .*; give the base that"):
        load_tokenizer("RerankerReward.judge", str(copied))


@pytest.mark.parametrize(
    ("tokens", "special", "verdict"),
    [
        (["བཀྲ་ཤིས"], False, "refused"),
        (["<|end_of_turn|>"], True, "refused"),  # the template writes it
        (["<image_soft_token>"], True, "let through"),  # as in Gemma 3's 1B: nothing writes it
    ],
)
def test_tokens_without_a_row_of_the_embedding(tokens, special, verdict, base, copied) -> None:
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_tokens(tokens, special_tokens=special)
    tokenizer.chat_template += "{% if false %}<|end_of_turn|>{% endif %}"
    tokenizer.save_pretrained(copied)
    if verdict == "refused":
        refused(str(copied), rf"has 401 tokens and its model 400 rows .*{tokens[0][:4]}".replace("|", r"\|"))
    else:
        assert load_policy(str(copied), "fp32", LORA, None, CPU)


def test_more_rows_than_tokens_are_fine(base, copied) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    model.resize_token_embeddings(448)
    model.save_pretrained(copied)
    assert load_policy(str(copied), "fp32", LORA, None, CPU)


@pytest.mark.parametrize(
    ("value", "weights", "message"),
    [
        (float("nan"), "fp32", "its weight .*layers.1.mlp.up_proj.* is not finite, so download it again"),
        (3e38, "bf16", "with `weights: bf16`; try `weights: fp32`"),
        (3e38, "fp32", "it is damaged"),
    ],
)
def test_a_base_that_gives_nan_is_refused(value, weights, message, base, copied) -> None:
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.fill_(value)
    model.save_pretrained(copied)
    refused(str(copied), f"gives NaN or infinite logits .*{message}", weights)


def test_an_adapter_that_gives_nan_is_refused(base, sft_adapter, tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(sft_adapter, tmp_path / "adapter")
    state = {name: tensor * 1e30 for name, tensor in load_file(folder / "adapter_model.safetensors").items()}
    save_file(state, folder / "adapter_model.safetensors")
    refused(base, "gives NaN or infinite logits on .*, which alone does not", adapter=str(folder))
