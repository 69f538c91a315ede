"""Faster forward of PEFT's plain LoRA layers: the same result in fewer operations and passes over the activations."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, addmm, is_autocast_enabled, is_grad_enabled, nn

from semalign_pl.policy.lora_casts import CastGroup, cast_groups
from semalign_pl.policy.token_rows import fast_row_forward


class _LoraLinear(Protocol):
    """The members of PEFT's LoRA layer that are used here, of which torch hides the types."""

    base_layer: nn.Module
    lora_A: Mapping[str, nn.Linear]
    lora_B: Mapping[str, nn.Linear]
    lora_dropout: Mapping[str, nn.Module]
    scaling: Mapping[str, float]
    casts: CastGroup

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
    and on a GPU that waits for launches, the number of operations matters as much. All other layers keep PEFT's
    forward: embeddings, experts, DoRA, biases, convolutions, several adapters at once. Trained rows of an embedding get
    a faster forward too.

    Args:
        model: PEFT model; changed in place.
    """
    plain = [layer for layer in model.modules() if is_plain(layer)]
    for layer, group in cast_groups(model, plain):
        setattr(layer, "casts", group)  # noqa: B010  (torch types attributes as tensors)
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
    down, up, scale = self.lora_A[name].weight, self.lora_B[name].weight, self.scaling[name]
    mixed = not x.is_meta and is_autocast_enabled(x.device.type)  # autocast then casts the inputs
    dropped = self.lora_dropout[name](x if mixed else x.to(down.dtype))
    if is_grad_enabled():
        if mixed:
            dropped = dropped.to(torch.get_autocast_dtype(x.device.type))
            down, up = self.casts.take(self, name, dropped.dtype)
        if result.dtype == up.dtype:
            return _Update.apply(result, dropped.flatten(0, -2), down, up, scale)
    low = nn.functional.linear(dropped, down)
    if result.dtype != up.dtype and not mixed:
        return result + (nn.functional.linear(low, up) * scale).to(result.dtype)
    rows, low = result.flatten(0, -2), low.flatten(0, -2)
    if mixed:
        return addmm(rows, low, up.t(), alpha=scale).view_as(result)
    return rows.addmm_(low, up.t(), alpha=scale).view_as(result)  # without a copy of the base's output


class _Context(Protocol):
    """Values that forward keeps for backward."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    scale: float

    def save_for_backward(self, *tensors: Tensor) -> None: ...
    def mark_dirty(self, *tensors: Tensor) -> None: ...


class _Update(torch.autograd.Function):
    """Add ``scale * B(A(x))`` to the base's output; the scale is a factor of the products in backward too."""

    @staticmethod
    def forward(ctx: _Context, result: Tensor, x: Tensor, down: Tensor, up: Tensor, scale: float) -> Tensor:
        low = x @ down.t()
        ctx.scale = scale
        ctx.save_for_backward(x, low, down, up)
        if result._is_view():  # of a base with a bias; autograd forbids to change it in place
            return addmm(result.flatten(0, -2), low, up.t(), alpha=scale).view_as(result)
        result.view(-1, result.shape[-1]).addmm_(low, up.t(), alpha=scale)
        ctx.mark_dirty(result)
        return result

    @staticmethod
    def backward(ctx: _Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (x, low, down, up) = gradients, ctx.saved_tensors
        of_x, of_down, of_up = ctx.needs_input_grad[1:4]
        rows = gradient.reshape(-1, gradient.shape[-1])
        grad_low = addmm(low, rows, up, beta=0, alpha=ctx.scale) if of_x or of_down else low
        return (
            gradient,
            grad_low @ down if of_x else None,
            grad_low.t() @ x if of_down else None,
            addmm(up, rows.t(), low, beta=0, alpha=ctx.scale) if of_up else None,
            None,
        )
