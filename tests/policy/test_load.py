"""Loading: precisions, adapters, EOS ids, refusals."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.bases import another_base
from helpers.tiny import CPU, gradient, relative, stir, trained

from semalign_pl.engine.logprobs import LogprobScorer
from semalign_pl.engine.micro_batches import Completions, micro_batches
from semalign_pl.policy.adapter import adapter_state
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings

LINEARS = {f"self_attn.{n}_proj" for n in "qkvo"} | {f"mlp.{n}_proj" for n in ("gate", "up", "down")}


def adapted(policy: Policy) -> set[str]:
    names = (name for name, _ in policy.model.named_modules() if name.endswith("lora_A.default"))
    return {name.removeprefix("base_model.model.model.layers.").removesuffix(".lora_A.default") for name in names}


@pytest.mark.parametrize("weights", ["fp32", "bf16", "nf4"])
def test_base_as_asked_and_the_default_adapter_in_float32(base, weights: str) -> None:
    policy = load_policy(base, weights, None, None, CPU)
    base_layer = policy.model.base_model.model.model.layers[0].mlp.up_proj.base_layer
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16, "nf4": torch.uint8}
    assert base_layer.weight.dtype == kinds[weights]
    assert (type(base_layer).__name__ == "Linear4bit") == (weights == "nf4")
    assert adapted(policy) == {f"{layer}.{name}" for layer in range(2) for name in LINEARS}
    config = policy.model.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (64, 128, 0.05)
    assert set(trained(policy)) == {name for name, _ in policy.named_parameters() if ".default." in name}
    assert len(trained(policy)) == 2 * 14 and {w.dtype for w in trained(policy).values()} == {torch.float32}
    training = {name for name, module in policy.named_modules() if module.training}
    dropouts = {name for name, _ in policy.named_modules() if ".lora_dropout" in name}
    assert policy.training and training > dropouts != set()
    assert not any(name.endswith(("base_layer", "norm")) for name in training)  # the base is frozen: see Policy.train


@pytest.mark.parametrize("weights", ["bf16", "nf4"])
def test_adapters_from_a_folder_are_float32_too(base, sft_adapter, weights: str) -> None:
    policy = load_policy(base, weights, None, sft_adapter, CPU)
    lora = {name: weight for name, weight in policy.named_parameters() if "lora_" in name}
    assert {weight.dtype for weight in lora.values()} == {torch.float32}
    assert {name.split(".")[-2] for name, w in lora.items() if w.requires_grad} == {"default"}
    assert {name.split(".")[-2] for name, w in lora.items() if not w.requires_grad} == {"reference"}


def test_training_goes_on_from_the_folder(base, sft_adapter) -> None:
    from safetensors.torch import load_file

    saved = load_file(Path(sft_adapter) / "adapter_model.safetensors")
    policy = load_policy(base, "fp32", None, sft_adapter, CPU)
    for name in ("default", "reference"):
        state = adapter_state(policy, name)
        assert set(state) == set(saved) and all(torch.equal(state[key], saved[key]) for key in saved)
    config = policy.model.peft_config["default"]
    assert (config.r, config.lora_alpha, config.lora_dropout) == (4, 8, 0.0)
    assert load_policy(base, "fp32", LoraSettings(4, 8, 0.0), sft_adapter, CPU).eos_ids == policy.eos_ids


def test_every_eos_id_and_the_tokenizers_first(base, tokenizer, tmp_path) -> None:
    assert load_policy(base, "fp32", None, None, CPU).eos_ids == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    single = Path(shutil.copytree(base, tmp_path / "single"))
    (single / "generation_config.json").write_text(json.dumps({"eos_token_id": 7}))
    assert load_policy(str(single), "fp32", None, None, CPU).eos_ids == (tokenizer.eos_token_id, 7)


def another_family(base: str, folder: Path) -> str:
    from transformers import GPT2Config, GPT2LMHeadModel

    shutil.copytree(base, folder)
    config = GPT2Config(vocab_size=400, n_embd=32, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return str(folder)


def test_refusals_are_one_line_that_names_the_option(base, sft_adapter, tmp_path) -> None:
    narrow = another_base(base, tmp_path / "narrow", hidden_size=32)
    shallow = another_base(base, tmp_path / "shallow", num_hidden_layers=1)
    other = another_family(base, tmp_path / "gpt2")
    refused = [
        ("base", str(tmp_path / "nowhere"), None, None),
        ("base", str(tmp_path), None, None),
        ("adapter", base, None, str(tmp_path / "nowhere")),
        ("adapter", base, None, base),
        ("adapter", narrow, None, sft_adapter),
        ("adapter", shallow, None, sft_adapter),
        ("adapter", other, None, sft_adapter),
        ("lora", base, LoraSettings(r=8, alpha=8, dropout=0.0), sft_adapter),
        ("lora", base, LoraSettings(r=4, alpha=16, dropout=0.0), sft_adapter),
        ("lora", base, LoraSettings(r=4, alpha=8, dropout=0.1), sft_adapter),
    ]
    for option, folder, lora, adapter in refused:
        with pytest.raises(ValueError, match=rf"^model\.init_args\.{option}: ") as refusal:
            load_policy(folder, "fp32", lora, adapter, CPU)
        assert "\n" not in str(refusal.value), refusal.value


def test_nf4_gradient_after_an_evaluation_is_that_of_its_dequantised_twin(base) -> None:
    """On CPUs with AVX512-BF16, bitsandbytes would repack weights in eval mode; on others this test cannot fail."""
    from bitsandbytes.functional import dequantize_4bit

    settings = LoraSettings(4, 8, 0.0)
    quantised = stir(load_policy(base, "nf4", settings, None, CPU), seed=4)
    twin = stir(load_policy(base, "fp32", settings, None, CPU), seed=4)
    twins = dict(twin.named_modules())
    with torch.no_grad():
        for name, weight in trained(quantised).items():
            trained(twin)[name].copy_(weight)
        for name, module in quantised.named_modules():
            if hasattr(module, "support_avx512bf16_for_cpu"):
                assert module.support_avx512bf16_for_cpu is False
                twins[name].weight.copy_(dequantize_4bit(module.weight.data, module.weight.quant_state))
    rows = Completions([[5, 6, 7], [8]], [[9, 10, 11, 2], [12, 2]])
    (batch,) = micro_batches(rows, 100)
    gradients = []
    for policy in (quantised, twin):
        with policy.inference():
            LogprobScorer(policy, rows, batch)(batch.chunks[0])
        scorer = LogprobScorer(policy, rows, batch)
        scorer(batch.chunks[0]).logps.sum().backward()
        scorer.backward()
        gradients.append(gradient(policy))
    assert relative(*gradients) < 1e-4
