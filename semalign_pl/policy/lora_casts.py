"""LoRA weights in the dtype of autocast: all of a decoder layer by one operation, and their gradients by one more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn


class _Member(Protocol):
    """The members of PEFT's LoRA layer that are used here."""

    lora_A: Mapping[str, nn.Linear]
    lora_B: Mapping[str, nn.Linear]


class CastGroup:
    """LoRA layers whose float32 weights are cast together: those of a decoder layer.

    Autocast casts each weight by itself, and each gradient back: 28 operations for the seven layers of a decoder layer,
    and as many when it is computed again.

    Args:
        members: LoRA layers of the group.
    """

    def __init__(self, members: Sequence[_Member]) -> None:
        self.members = members
        self._casts: dict[int, tuple[Tensor, Tensor, object]] = {}

    def take(self, member: _Member, name: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return A and B of a layer in another dtype; each cast is given out once, so that nothing is kept.

        Args:
            member: LoRA layer of this group.
            name: Name of the adapter.
            dtype: Dtype to cast to.
        """
        down, up, state = self._casts.pop(id(member), (None, None, None))
        if down is None or up is None or state != _state(member, name, dtype):
            self._cast(name, dtype)
            down, up, _ = self._casts.pop(id(member))
        return down, up

    def _cast(self, name: str, dtype: torch.dtype) -> None:
        members = [member for member in self.members if name in member.lora_A]
        weights = [w for m in members for w in (m.lora_A[name].weight, m.lora_B[name].weight)]
        cast = iter(_CastTogether.apply(dtype, *weights))
        self._casts = {id(m): (next(cast), next(cast), _state(m, name, dtype)) for m in members}


def _state(member: _Member, name: str, dtype: torch.dtype) -> object:
    """Everything that a cast depends on: the weights themselves, and how often they have changed."""
    down, up = member.lora_A[name].weight, member.lora_B[name].weight
    return id(down), down._version, id(up), up._version, down.data_ptr(), dtype


def cast_groups(model: nn.Module, plain: Sequence[nn.Module]) -> Iterator[tuple[nn.Module, CastGroup]]:
    """Yield plain LoRA layers with their group; a layer outside the decoder's layers is a group of its own.

    Args:
        model: PEFT model.
        plain: LoRA layers of the model.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    left = {id(layer): layer for layer in plain}
    blocks = [list(m.modules()) for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    for modules in [*blocks, *([layer] for layer in plain)]:
        members = [left.pop(id(module)) for module in modules if id(module) in left]
        group = CastGroup(members)  # pyright: ignore[reportArgumentType]  (torch hides the types)
        yield from ((member, group) for member in members)


class _CastTogether(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        cast = [torch.empty_like(weight, dtype=dtype) for weight in weights]
        torch._foreach_copy_(cast, list(weights))  # pyright: ignore[reportPrivateImportUsage]
        return tuple(cast)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        given = [gradient for gradient in gradients if gradient is not None]
        cast = [torch.empty_like(gradient, dtype=torch.float32) for gradient in given]
        torch._foreach_copy_(cast, given)  # pyright: ignore[reportPrivateImportUsage]
        back = iter(cast)
        return (None, *(None if gradient is None else next(back) for gradient in gradients))
