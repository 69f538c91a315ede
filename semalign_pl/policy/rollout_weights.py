"""Dense copies of the weights while rollouts are sampled, so that no token pays for dequantisation or the adapter."""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from semalign_pl.policy.lora import is_plain
from semalign_pl.policy.policy import Policy

if TYPE_CHECKING:
    from peft.tuners.lora.layer import LoraLayer

log = logging.getLogger(__name__)
RolloutWeights = Literal["stored", "dense"]
"""Weights that rollouts are sampled with: those that the model holds, or dense copies of them."""
FREE_SHARE = 0.25
"""Share of a GPU's memory that stays free of dense copies, for the KV cache of the rollouts and their logits."""


def check_rollout_weights(rollout_weights: str, weights: str) -> None:
    """Refuse dense copies where they would change the policy, or where there is nothing to copy.

    Args:
        rollout_weights: Setting to check.
        weights: Quantisation or precision of the base.

    Raises:
        ValueError: Names the setting, and the values it can have.
    """
    if rollout_weights not in get_args(RolloutWeights):
        raise ValueError(f"model.init_args.rollout_weights: {rollout_weights} is unknown; give stored or dense")
    if rollout_weights == "dense" and weights == "bf16":
        raise ValueError(
            "model.init_args.rollout_weights: dense copies of bf16 weights would be the same weights, and rounded if "
            "the adapter were added to them; give rollout_weights: stored"
        )


@contextlib.contextmanager
def dense_weights(policy: Policy) -> Iterator[int]:
    """Run a policy on dense copies of its linear layers; the layers themselves are restored on exit.

    A layer in NF4 is dequantised once, to the very numbers that it computes with at each forward (QLoRA, arXiv
    2305.14314, equation 5). A layer that computes in float32 also has the update of its adapter added to its copy
    (``W + scaling * B A``, LoRA, arXiv 2106.09685, section 4.1): the same logits up to rounding. In bfloat16 the sum
    would be rounded to eight bits, so there the update is computed apart, as in training.

    The copies need the memory of the layers in the dtype that they compute in. On a GPU, layers that would leave less
    than ``FREE_SHARE`` of its memory free keep their stored weights.

    Args:
        policy: Policy to run, which must not be trained inside.

    Yields:
        Number of layers that have a dense copy.

    Raises:
        ValueError: If no layer could have one, so that the setting would do nothing.
    """
    replaced: list[tuple[nn.Module, object]] = []
    try:
        copies = list(_copies(policy.model))
        if not copies:
            raise ValueError(
                "model.init_args.rollout_weights: dense would copy nothing: no layer is in NF4, and none with plain "
                "LoRA computes in float32; give rollout_weights: stored"
            )
        for module, copy in copies:
            if _has_room(policy.device):
                forward = copy()
                replaced.append((module, vars(module).get("forward")))
                module.forward = forward
        if len(replaced) < len(copies):
            _warn_full()
        yield len(replaced)
    finally:
        for module, before in replaced:
            del module.forward
            if before is not None:
                vars(module)["forward"] = before


@functools.cache
def _warn_full() -> None:
    """Warn about layers without room for a copy, once and not in every step."""
    log.warning("rollout_weights: dense: the GPU has no room for copies of all layers, so some are decoded as stored")


Forward = Callable[[Float[Tensor, "... in"]], Float[Tensor, "... out"]]


def _copies(model: nn.Module) -> Iterator[tuple[nn.Module, Callable[[], Forward]]]:
    """Yield modules whose forward a dense copy can replace, each with the function that makes this forward."""
    from peft.tuners.lora.layer import LoraLayer

    adapted: set[nn.Module] = set()
    for module in model.modules():
        if isinstance(module, LoraLayer) and is_plain(module):
            base = module.get_base_layer()
            if _computes_in_float32(base, module):
                adapted.add(base)
                yield module, functools.partial(_make_merged, base, module)
        elif _is_nf4(module) and module not in adapted:  # a LoRA layer comes before its base
            yield module, functools.partial(_make_dequantised, module)


def _is_nf4(module: nn.Module) -> bool:
    return type(module).__name__ == "Linear4bit" and hasattr(module, "compute_dtype")


def _computes_in_float32(base: Any, lora: LoraLayer) -> bool:
    """True if a base layer and its only active adapter compute in float32."""
    mixed = torch.is_autocast_enabled(next(base.parameters()).device.type)
    plain = type(base) is nn.Linear and base.weight.dtype == torch.float32
    nf4 = _is_nf4(base) and base.compute_dtype == torch.float32
    one = not lora.merged and not lora.disable_adapters and len(lora.active_adapters) == 1
    return one and not mixed and (plain or nf4) and lora.active_adapters[0] in lora.lora_A


def _weight(base: Any) -> Float[Tensor, "out in"]:
    """Weight that a linear layer computes with."""
    weight = base.get_parameter("weight").detach()
    if not _is_nf4(base):
        return weight
    from bitsandbytes.functional import dequantize_4bit

    state = base.weight.quant_state
    return dequantize_4bit(weight, state).to(base.compute_dtype or state.dtype)


def _make_dequantised(base: Any) -> Forward:
    weight, bias = _weight(base), base.bias

    def forward(x: Tensor) -> Tensor:
        own = x.to(weight.dtype)
        return linear(own, weight, None if bias is None else bias.to(weight.dtype)).to(x.dtype)

    return forward


def _make_merged(base: Any, lora: LoraLayer) -> Forward:
    (name,) = lora.active_adapters
    down, up = (factors[name].get_parameter("weight").detach() for factors in (lora.lora_A, lora.lora_B))
    weight, bias = torch.addmm(_weight(base), up, down, alpha=lora.scaling[name]), base.bias
    return lambda x: linear(x, weight, bias)


def _has_room(device: torch.device) -> bool:
    """True if a GPU has more than ``FREE_SHARE`` of its memory free, counting what PyTorch holds unused."""
    if device.type != "cuda":
        return True
    free, total = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + unused > FREE_SHARE * total
