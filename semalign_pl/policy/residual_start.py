"""Adapters that start as a part of the base's weight: plain LoRA of twice the rank, whose second half is frozen.

Such an adapter starts as ``s B0 A0``, a part of the weight W, and the rest of W is frozen. PEFT changes the weight for
it. Here policy, reference and base share one weight, so the subtraction is the second half of the adapter:
``(W - s B0 A0) + s B A = W + s [B, -B0] [A; A0]``. Dropout acts on the difference from the base, and so never on what
the base knows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from semalign_pl.policy.new_adapter import fresh_adapter, lora_config
from semalign_pl.policy.settings import LoraSettings

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

OPTION = "model.init_args.lora"


def _keep(gradient: Tensor) -> Tensor:
    return gradient


@dataclass(frozen=True)
class Start:
    """Start of the adapter of one layer.

    Attributes:
        down: ``A0 (rank, in)``.
        up: ``B0 (out, rank)``.
        project_down: Projection of the gradient of A.
        project_up: Projection of the gradient of B.
    """

    down: Tensor
    up: Tensor
    project_down: Callable[[Tensor], Tensor] = _keep
    project_up: Callable[[Tensor], Tensor] = _keep


def residual_adapter(
    model: PreTrainedModel, lora: LoraSettings, ids: list[int], starts: Mapping[str, Start]
) -> PeftModel:
    """Add a new adapter of twice the rank to a base; its update is zero, and its second half is frozen.

    Args:
        model: Base model; becomes part of the PEFT model.
        lora: Settings of the adapter.
        ids: Token ids of new tokens, whose rows are trained.
        starts: Start of each adapted layer by its name.

    Raises:
        ValueError: If a layer has no start, because it is not linear.
    """
    from peft.tuners.lora.layer import LoraLayer

    made = fresh_adapter(model, lora, ids)
    for path, layer in made.get_base_model().named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        if path not in starts:
            raise ValueError(
                f"{OPTION}.variant: {lora.variant} adapts linear layers only; leave {path} out of target_modules"
            )
        start = starts[path]
        _fill(layer.lora_A["default"], [start.down, start.down], 0, start.project_down)
        _fill(layer.lora_B["default"], [start.up, -start.up], 1, start.project_up)
    return made


def start_config(model: PreTrainedModel, lora: LoraSettings) -> LoraConfig:
    """``LoraConfig`` with the rank and the alpha of the trained half.

    Args:
        model: Base model.
        lora: Settings of the adapter.
    """
    config = lora_config(lora, model)
    config.r, config.lora_alpha = lora.r, lora.alpha
    return config


def linear_layers(model: PreTrainedModel, lora: LoraSettings, config: LoraConfig) -> Mapping[str, nn.Module]:
    """Linear layers that an adapter adapts, by name.

    Args:
        model: Base model.
        lora: Settings of the adapter.
        config: Config of the adapter; ``all-linear`` in it is replaced by names.

    Raises:
        ValueError: If the base is quantised.
    """
    from peft.tuners.tuners_utils import _maybe_include_all_linear_layers, check_target_module_exists
    from transformers.pytorch_utils import Conv1D

    _maybe_include_all_linear_layers(config, model)  # changes it in place
    layers: dict[str, nn.Module] = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | Conv1D) and check_target_module_exists(config, name)
    }
    if any(not layer.get_parameter("weight").is_floating_point() for layer in layers.values()):
        raise ValueError(
            f"{OPTION}.variant: {lora.variant} decomposes the base's weights, which are quantised; use weights: bf16"
        )
    return layers


def _fill(factor: nn.Module, halves: list[Tensor], dim: int, project: Callable[[Tensor], Tensor]) -> None:
    """Set a factor to two halves along the rank, of which the second gets no gradient."""
    weight = factor.get_parameter("weight")
    with torch.no_grad():
        weight.copy_(torch.cat(halves, dim))
    rank = halves[0].shape[dim]
    mask = (torch.arange(2 * rank, device=weight.device) < rank).to(weight.dtype)
    mask = mask.unsqueeze(1 - dim)

    def hook(gradient: Tensor) -> Tensor:
        # Backward runs under the autocast of the step, which would project in bfloat16.
        with torch.autocast(gradient.device.type, enabled=False):
            return project(gradient * mask)

    weight.register_hook(hook)
