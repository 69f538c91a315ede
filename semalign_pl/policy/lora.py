"""Faster forward of PEFT's plain LoRA layers: the same result in fewer passes over the activations."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Protocol

from torch import Tensor, addmm, is_autocast_enabled, is_grad_enabled, nn

from semalign_pl.policy.token_rows import fast_row_forward


class _LoraLinear(Protocol):
    """The members of PEFT's LoRA layer that are used here, of which torch hides the types."""

    base_layer: nn.Module
    lora_A: Mapping[str, nn.Linear]
    lora_B: Mapping[str, nn.Linear]
    lora_dropout: Mapping[str, nn.Module]
    scaling: Mapping[str, float]

    @property
    def active_adapters(self) -> list[str]: ...
    @property
    def disable_adapters(self) -> bool: ...
    @property
    def merged(self) -> bool: ...
    def forward(self, x: Tensor, *args: object, **kwargs: object) -> Tensor: ...


def fast_lora_forward(model: nn.Module) -> None:
    """Replace the forward of every plain LoRA layer by one that adds the update within the matmul (``addmm``).

    PEFT multiplies, scales and adds in three passes over a layer's output where one is enough. With one token per row,
    the number of kernel calls matters as much. All other layers keep PEFT's forward: embeddings, experts, DoRA, biases,
    convolutions, several adapters at once. Trained rows of an embedding get a faster forward too.

    Args:
        model: PEFT model; changed in place.
    """
    for layer in model.modules():
        if is_plain(layer):
            layer.forward = types.MethodType(_forward, layer)
    fast_row_forward(model)


def is_plain(layer: nn.Module) -> bool:
    """Return true if PEFT computes ``base(x) + scaling * B(A(dropout(x)))`` in this layer, and nothing else.

    The exact class decides: a subclass, or another class with the same attributes, may compute something else.

    Args:
        layer: Module of a PEFT model.
    """
    from peft.tuners.lora import bnb
    from peft.tuners.lora import layer as lora

    # PEFT defines bitsandbytes' classes only if it finds that backend.
    classes = (lora.Linear, getattr(bnb, "Linear4bit", None), getattr(bnb, "Linear8bitLt", None))
    if type(layer) not in classes:
        return False
    assert isinstance(layer, lora.LoraLayer)
    changed = layer.lora_variant or any(layer.lora_bias.values()) or not layer.cast_input_dtype_enabled
    return not changed and not getattr(layer, "fan_in_fan_out", False)


def _forward(self: _LoraLinear, x: Tensor, *args: object, **kwargs: object) -> Tensor:
    """Compute ``base(x) + scaling * B(A(dropout(x)))`` (arXiv 2106.09685, equation 3)."""
    active = [name for name in self.active_adapters if name in self.lora_A]
    if kwargs or args or self.merged or len(active) > 1:
        return type(self).forward(self, x, *args, **kwargs)
    result = self.base_layer(x)
    if self.disable_adapters or not active:
        return result
    (name,) = active
    down, up = self.lora_A[name].weight, self.lora_B[name].weight
    mixed = not x.is_meta and is_autocast_enabled(x.device.type)  # autocast then casts the inputs
    low = nn.functional.linear(self.lora_dropout[name](x if mixed else x.to(down.dtype)), down)
    if result.dtype != up.dtype and not mixed:
        return result + (nn.functional.linear(low, up) * self.scaling[name]).to(result.dtype)
    rows, low = result.flatten(0, -2), low.flatten(0, -2)
    if mixed or is_grad_enabled():
        return addmm(rows, low, up.t(), alpha=self.scaling[name]).view_as(result)
    return rows.addmm_(low, up.t(), alpha=self.scaling[name]).view_as(result)  # without a copy of the base's output
