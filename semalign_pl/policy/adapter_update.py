"""Update that a plain LoRA adapter makes to its base: LoRA factors, trained token rows, modules trained as a whole."""

from __future__ import annotations

import copy
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semalign_pl.policy.adapter_folder import AdapterFolder

if TYPE_CHECKING:
    from peft import LoraConfig

PREFIX = "base_model.model."
"""First part of the name of every tensor in a PEFT folder."""
ROWS = ".token_adapter.trainable_tokens_delta"
_DOWN = re.compile(r"(.*)\.(lora_A\.weight|lora_embedding_A)")
_UP = re.compile(r".*\.(lora_B\.weight|lora_B\.bias|lora_embedding_B)")


@dataclass(frozen=True)
class Factors:
    """LoRA factors of one layer, whose update is ``scaling * up @ down``, for each expert if it has several.

    Attributes:
        down: Factor A, ``(experts * rank, in)``; of an embedding, ``(rank, vocabulary)``.
        up: Factor B, ``(out, rank * experts)``.
        bias: Bias of B, ``(out,)``; ``None`` without one.
        scaling: ``alpha / rank``, or ``alpha / sqrt(rank)`` with rsLoRA. Of experts, another number that is the same
            for all adapters with one config: PEFT looks it up by the name of a parameter, which a folder does not hold.
        embedding: True for the factors of an embedding, which have other names.
    """

    down: Tensor
    up: Tensor
    bias: Tensor | None
    scaling: float
    embedding: bool


@dataclass(frozen=True)
class Update:
    """Weights of an adapter by kind. Names of layers have `PREFIX`.

    Attributes:
        factors: LoRA factors by layer.
        tied: Layers whose factors are those of a tied embedding, transposed: name of the embedding by layer.
        rows: Token ids and trained rows ``(tokens, hidden)`` by layer.
        whole: Tensors of modules trained as a whole (``modules_to_save``), by PEFT's name.
        other: Tensors of variants of LoRA, such as the magnitudes of DoRA, by PEFT's name.
    """

    factors: dict[str, Factors]
    tied: dict[str, str]
    rows: dict[str, tuple[list[int], Tensor]]
    whole: dict[str, Tensor]
    other: dict[str, Tensor]


def read_update(adapter: AdapterFolder) -> Update:
    """Sort the weights of an adapter by kind. PEFT's copies of unchanged weights of the base are left out.

    Args:
        adapter: Adapter whose initialisation did not change the base, as ``plain_lora`` returns it.
    """
    config, weights = adapter.config, adapter.weights
    update = Update({}, {}, {}, {}, {})
    for key, tensor in weights.items():
        if found := _DOWN.fullmatch(key):
            update.factors[found[1]] = _factors(adapter, found[1], found[2] == "lora_embedding_A")
        elif _UP.fullmatch(key):
            continue
        elif key.endswith(ROWS):
            layer = key.removesuffix(ROWS)
            update.rows[layer] = (_token_ids(config, layer), tensor)
        elif ".lora_" in key:
            update.other[key] = tensor
        elif trains_whole(config, key):
            update.whole[key] = tensor
    if config.ensure_weight_tying:
        update.tied.update(_find_tied(update.factors))
    for layer in update.tied:
        del update.factors[layer]
    return update


def to_weights(update: Update) -> dict[str, Tensor]:
    """Tensors by PEFT's names: the inverse of `read_update`.

    Args:
        update: Weights of an adapter by kind.
    """
    weights = {**update.whole, **update.other, **{f"{layer}{ROWS}": rows for layer, (_, rows) in update.rows.items()}}
    for layer, one in update.factors.items():
        down, up = ("lora_embedding_A", "lora_embedding_B") if one.embedding else ("lora_A.weight", "lora_B.weight")
        weights |= {f"{layer}.{down}": one.down, f"{layer}.{up}": one.up}
        if one.bias is not None:
            weights[f"{layer}.lora_B.bias"] = one.bias
    for layer, embedding in update.tied.items():
        one = update.factors[embedding]
        weights |= {f"{layer}.lora_A.weight": one.up.t(), f"{layer}.lora_B.weight": one.down.t()}
    return weights


def multiply_ranks(config: LoraConfig, times: int) -> LoraConfig:
    """Config of plain LoRA of a multiple of the rank, with the same scaling: ``alpha / r``, or ``alpha / sqrt(r)``.

    Args:
        config: Config of an adapter.
        times: Factor of each rank.
    """
    wide = copy.deepcopy(config)
    factor = times**0.5 if config.use_rslora else times
    alpha: Any = factor * config.lora_alpha  # PEFT says int, and takes any number
    wide.init_lora_weights, wide.r, wide.lora_alpha = True, times * config.r, alpha
    wide.rank_pattern = {name: times * rank for name, rank in (config.rank_pattern or {}).items()}
    wide.alpha_pattern = {name: factor * scale for name, scale in (config.alpha_pattern or {}).items()}
    return wide


def trains_whole(config: LoraConfig, key: str) -> bool:
    """Return true if a tensor of a PEFT folder is one that is trained as a whole, and no copy of the base's own.

    Args:
        config: Config of the adapter.
        key: PEFT's name of the tensor.
    """
    copied = any(mark in key for mark in (".base_layer.", ".original_module.", ".modules_to_save."))
    return not copied and (getattr(config, "ensure_weight_tying", False) or is_within_whole(config, key))


def is_within_whole(config: LoraConfig, key: str) -> bool:
    """Return true if a tensor belongs to one of ``modules_to_save``, or to a child of one.

    Args:
        config: Config of the adapter.
        key: Name of the tensor, in PEFT or in the base.
    """
    whole, path = tuple(config.modules_to_save or ()), base_name(key).split(".")
    return any(".".join(path[:end]).endswith(whole) for end in range(1, len(path)))


def base_weights(base: nn.Module) -> dict[str, Tensor]:
    """Weights and buffers of a base by their names without PEFT.

    Args:
        base: Causal LM, or the PEFT model around it.
    """
    named = [*base.named_parameters(remove_duplicate=False), *base.named_buffers(remove_duplicate=False)]
    own = (".lora_", ".modules_to_save.", ".trainable_tokens_")
    return {base_name(name): tensor for name, tensor in named if not any(one in f".{name}" for one in own)}


def base_name(key: str) -> str:
    """Name that a weight or layer has in the base without PEFT.

    Args:
        key: Name in a PEFT model or folder.
    """
    return re.sub(r"\.(base_layer|original_module|token_adapter)(?=\.|$)", "", key.removeprefix(PREFIX))


def _factors(adapter: AdapterFolder, layer: str, embedding: bool) -> Factors:
    from peft.utils.other import get_pattern_key

    config, name = adapter.config, base_name(layer)
    ranks, alphas = config.rank_pattern or {}, config.alpha_pattern or {}
    rank = ranks.get(get_pattern_key(list(ranks), name), config.r)
    alpha = alphas.get(get_pattern_key(list(alphas), name), config.lora_alpha)
    scaling = alpha / (math.sqrt(rank) if config.use_rslora else rank)
    kind = "lora_embedding_{}" if embedding else "lora_{}.weight"
    down, up = (adapter.weights[f"{layer}.{kind.format(factor)}"] for factor in "AB")
    return Factors(down, up, adapter.weights.get(f"{layer}.lora_B.bias"), scaling, embedding)


def _token_ids(config: LoraConfig, layer: str) -> list[int]:
    """Token ids of the trained rows of a layer; a list without names belongs to the input embedding."""
    given = config.trainable_token_indices
    if isinstance(given, dict):
        return next(ids for name, ids in given.items() if layer.endswith(name))
    return list(given or ())


def _find_tied(factors: dict[str, Factors]) -> dict[str, str]:
    """Find layers whose factors are those of an embedding, transposed."""
    embeddings = {layer: one for layer, one in factors.items() if one.embedding}
    return {
        layer: name
        for layer, one in factors.items()
        for name, other in embeddings.items()
        if not one.embedding and torch.equal(one.down, other.up.t()) and torch.equal(one.up, other.down.t())
    }
