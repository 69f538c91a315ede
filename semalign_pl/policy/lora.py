"""A leaner forward for PEFT's plain LoRA layers: the same numbers by fewer passes over the activations."""

from __future__ import annotations

import types
from typing import Any

from torch import Tensor, addmm, is_autocast_enabled, nn

from semalign_pl.policy.token_rows import lighten_rows


def lighten(model: nn.Module) -> None:
    """Let every plain LoRA layer add its update while it multiplies (``addmm``), instead of scaling and adding after.

    PEFT makes three passes over a layer's output where one does, and at one token a row, calls count as much. Layers
    of any other kind (DoRA, convolutions, several adapters at once) keep PEFT's forward. Trained rows of an embedding
    are lightened too.

    Args:
        model: A PEFT model; changed in place.
    """
    from peft.tuners.lora import LoraLayer

    for layer in model.modules():
        plain = isinstance(layer, LoraLayer) and all(type(a) is nn.Linear for a in layer.lora_A.values())
        if plain and not layer.lora_variant and not getattr(layer, "fan_in_fan_out", False):
            layer.forward = types.MethodType(_forward, layer)
    lighten_rows(model)


def _forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """``base(x) + scaling * B(A(dropout(x)))`` (arXiv 2106.09685, equation 3)."""
    active = [name for name in self.active_adapters if name in self.lora_A]
    if kwargs or args or self.merged or len(active) > 1:
        return type(self).forward(self, x, *args, **kwargs)
    result = self.base_layer(x)
    if self.disable_adapters or not active:
        return result
    (name,) = active
    down, up = self.lora_A[name].weight, self.lora_B[name].weight
    mixed = not x.is_meta and is_autocast_enabled(x.device.type)  # it casts where it must
    low = nn.functional.linear(self.lora_dropout[name](x if mixed else x.to(down.dtype)), down)
    if result.dtype != up.dtype and not mixed:
        return result + (nn.functional.linear(low, up) * self.scaling[name]).to(result.dtype)
    return addmm(result.flatten(0, -2), low.flatten(0, -2), up.t(), alpha=self.scaling[name]).view_as(result)
