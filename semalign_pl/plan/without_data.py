"""Run the training code on the meta device: substitutes for operations that it lacks, or that read data."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction, FunctionCtx
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode


@contextmanager
def without_data() -> Iterator[None]:
    """Run the training code on tensors without data."""
    autocast = torch.autocast

    def autocast_off_meta(device_type: str, enabled: bool = True) -> AbstractContextManager[object]:
        return nullcontext() if device_type == "meta" else autocast(device_type, enabled=enabled)

    # PEFT's adapters of experts enter autocast, which does not know the meta device. A class is not a tensor function,
    # so the mode below cannot replace it.
    setattr(torch, "autocast", autocast_off_meta)  # noqa: B010  (torch declares a class)
    try:
        with _MetaSubstitutes():
            yield
    finally:
        setattr(torch, "autocast", autocast)  # noqa: B010


def keep_in_recomputation(decoder: nn.Module) -> None:
    """Enter the mode in every block of the decoder's layers too: torch leaves it where backward recomputes a layer.

    Args:
        decoder: Decoder of transformers on the meta device; changed in place.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    def run(forward: Callable[..., object], *args: object, **kwargs: object) -> object:
        with _MetaSubstitutes():
            return forward(*args, **kwargs)

    for layer in decoder.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            for block in layer.children():
                block.forward = functools.partial(run, block.forward)


class _MetaSubstitutes(TorchFunctionMode):
    """Mode that replaces fused kernels, and answers questions about values as for rows without padding or packing."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Sequence[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        """Run a function, or its substitute."""
        if func is scaled_dot_product_attention:
            return _FlashAttention.apply(*args[:3])
        if func is getattr(torch, "_grouped_mm"):  # noqa: B009  (what nn.functional.grouped_mm calls)
            return _GroupedMatmul.apply(*args[:2])
        # transformers asks if token ids contain padding, and if all positions of a row are consecutive.
        on_meta = bool(args) and isinstance(args[0], Tensor) and args[0].is_meta
        if on_meta and func is Tensor.__contains__:
            return False
        if on_meta and func is Tensor.all:
            return torch.tensor(True)
        return func(*args, **(kwargs or {}))


class _FlashAttention(torch.autograd.Function):
    """Fused attention, which the meta device lacks: same output shape, same saved tensors."""

    @staticmethod
    def forward(ctx: FunctionCtx, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, output, query.new_empty(query.shape[:3], dtype=torch.float32))
        return output

    @staticmethod
    def backward(ctx: BackwardCFunction, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(map(torch.empty_like, ctx.saved_tensors[:3]))


class _GroupedMatmul(torch.autograd.Function):
    """Fused matmul of the experts, which the meta device has in bfloat16 only."""

    @staticmethod
    def forward(ctx: FunctionCtx, rows: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return rows.new_empty((rows.shape[0], weight.shape[2]))

    @staticmethod
    def backward(ctx: BackwardCFunction, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return tuple(
            torch.empty_like(saved) if needed else None
            for saved, needed in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=True)
        )
