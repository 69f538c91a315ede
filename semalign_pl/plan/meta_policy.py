"""Models on the meta device, built from their config alone: the policy, and the bytes of frozen weights."""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.engine.self_check import packing_unsupported_reason
from semalign_pl.plan.equal_layers import equal_layers, first_layers
from semalign_pl.plan.settings import Settings
from semalign_pl.plan.without_data import keep_in_recomputation, without_data
from semalign_pl.policy.causal_lm import LOAD_ERRORS, Weights, check_folder, load_reason
from semalign_pl.policy.full import is_full
from semalign_pl.policy.lora import fast_lora_forward
from semalign_pl.policy.new_adapter import fresh_adapter, lora_config
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.saved_adapter import untie
from semalign_pl.policy.token_rows import rows_of
from semalign_pl.policy.vocabulary import embedding_and_head

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes per NF4 weight: 4 bits, plus 8 bits per block of 64, 32 bits per 256 blocks (arXiv 2305.14314, section 3)."""


@lru_cache(maxsize=1)
def meta_policy(settings: Settings) -> Policy:
    """Policy on the meta device.

    Args:
        settings: ``Settings.of_policy`` of a run.
    """
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM

    config = read_config("model.init_args.base", settings.base)
    old = config.get_text_config().vocab_size
    config.get_text_config().vocab_size += settings.new_tokens
    ids = list(range(old, old + settings.new_tokens))
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(
            config, dtype=compute_dtype(settings), trust_remote_code=False
        ).requires_grad_(False)
    with torch.device("meta"):
        peft_model = fresh_adapter(model, settings.lora, ids)
        if settings.with_reference:
            own = peft_model.peft_config["default"]
            assert isinstance(own, LoraConfig)
            peft_model.add_adapter("reference", untie(own) if is_full(own) else lora_config(settings.lora, model, ids))
            for name, parameter in peft_model.named_parameters():
                if ".reference." in name:
                    parameter.requires_grad_(False)
                elif ".modules_to_save.default." in name:  # PEFT freezes them with the reference
                    parameter.requires_grad_(True)
    for name, parameter in peft_model.named_parameters():
        if "lora_" in name:
            # Adapters are stored in float32. Under bf16 autocast they are used as bfloat16, so that is what runs here.
            parameter.data = parameter.data.to(torch.bfloat16 if settings.mixed else torch.float32)
    fast_lora_forward(peft_model)
    policy = Policy(peft_model, _encoder_of_one_token()).train()
    keep_in_recomputation(policy.decoder)
    few = first_layers(policy.decoder, 1) if equal_layers(policy.decoder) else nullcontext()
    with without_data(), few:
        policy.prefix_sharing_unsupported_reason = packing_unsupported_reason(policy)
    return policy


def _encoder_of_one_token() -> PromptEncoder:
    """Encoder of a policy that neither reads nor writes text."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    return PromptEncoder(PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"x": 0}, "x"))), (0,))


def compute_dtype(settings: Settings) -> torch.dtype:
    """Dtype of activations and of weights that are not quantised.

    Args:
        settings: Settings of the run.
    """
    if settings.weights == "nf4":
        return torch.bfloat16 if settings.cuda else torch.float32
    return torch.bfloat16 if settings.weights == "bf16" else torch.float32


def is_adapter(name: str) -> bool:
    """Return true if a parameter of this name belongs to an adapter.

    Args:
        name: Name of a parameter of the policy.
    """
    return "lora_" in name or "trainable_tokens_" in name or ".modules_to_save." in name


def dense_bytes(lm: PreTrainedModel, settings: Settings) -> int:
    """Bytes of the copies that ``rollout_weights: dense`` makes, if there is room for all of them.

    Args:
        lm: Causal LM on the meta device, with or without adapters.
        settings: Settings of the run.
    """
    return sum(_frozen_linears(lm).values()) * compute_dtype(settings).itemsize


def _frozen_linears(lm: PreTrainedModel) -> dict[int, int]:
    """Number of weights of each frozen linear layer except the head, by the id of the parameter."""
    head = rows_of(embedding_and_head(lm)[1])[0].weight
    return {
        id(module.weight): module.weight.numel()
        for module in lm.modules()
        if isinstance(module, nn.Linear) and module.weight is not head and not module.weight.requires_grad
    }


def weight_bytes(lm: PreTrainedModel, weights: Weights) -> int:
    """Bytes of a causal LM's frozen weights; with ``nf4``, linear layers except the head are quantised.

    Args:
        lm: Causal LM on the meta device, with or without adapters.
        weights: Precision or quantisation.
    """
    linears, total = _frozen_linears(lm), 0.0
    for name, parameter in lm.named_parameters():
        if not is_adapter(name):
            small = weights == "nf4" and id(parameter) in linears
            total += parameter.numel() * (NF4_BYTES if small else parameter.element_size())
    return round(total)


def replaced_bytes(lm: PreTrainedModel, settings: Settings) -> int:
    """Bytes of the embedding and head that others with new tokens replaced, and that stay in memory.

    On a CPU, weights that keep the precision of their file are mapped from it, and the system counts the whole file for
    as long as any of them is used.

    Args:
        lm: Causal LM on the meta device, with rows of the new tokens.
        settings: Settings of the run.
    """
    saved = read_config("model.init_args.base", settings.base).dtype or torch.float32
    if settings.cuda or not settings.new_tokens or settings.weights == "nf4" or saved != compute_dtype(settings):
        return 0
    matrices = {id(one): one for one in (rows_of(layer)[0].weight for layer in embedding_and_head(lm))}
    return sum((len(one) - settings.new_tokens) * one[0].nbytes for one in matrices.values())


@lru_cache
def encoder_bytes(name: str, bytes_each: int) -> int:
    """Bytes of a reward's encoder.

    Args:
        name: Hub id or folder of the encoder.
        bytes_each: Bytes per weight.
    """
    folder, inner = Path(name), Path(name) / "0_Transformer"
    if folder.is_dir() and not inner.is_dir() and not (folder / "config.json").is_file():
        return bytes_each * sum(map(_count_saved, folder.rglob("*.safetensors")))  # static token vectors, for instance
    from transformers import AutoModel

    config = read_config("SemanticReward.encoder", str(inner) if inner.is_dir() else name)
    with torch.device("meta"):
        model = AutoModel.from_config(config, trust_remote_code=False)
        return sum(p.numel() for p in model.parameters()) * bytes_each


def _count_saved(path: Path) -> int:
    """Number of values in a safetensors file, of which only the head is read."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())


@lru_cache
def judge_bytes(name: str, weights: Weights, cuda: bool) -> int:
    """Bytes of a reward's judge.

    Args:
        name: Hub id or folder of the judge, a causal LM.
        weights: Precision or quantisation.
        cuda: True on a GPU.
    """
    from transformers import AutoModelForCausalLM

    dtype = compute_dtype(Settings(base=name, stage="grpo", weights=weights, cuda=cuda))
    with torch.device("meta"):
        config = read_config("RerankerReward.judge", name)
        lm = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False).requires_grad_(False)
    return weight_bytes(lm, weights)


def read_config(option: str, name: str) -> PreTrainedConfig:
    """Config of a model.

    Args:
        option: Option that names the model, for the message.
        name: Hub id or folder of the model.

    Raises:
        ValueError: If the config cannot be read; names the option.
    """
    from transformers import AutoConfig

    check_folder(option, name)
    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=False)
    except LOAD_ERRORS as error:
        raise ValueError(
            f"{option}: no config of {name!r} can be read: {load_reason(error)} Give a folder that holds "
            "config.json (nothing else is needed to plan), or a hub id that this machine can reach."
        ) from error
