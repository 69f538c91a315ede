"""How much memory tensor operations would take, counted as they run on the meta device."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakBytes(TorchDispatchMode):
    """Counts the bytes of every storage made inside, while it lives; what existed before is not counted.

    What a kernel allocates and frees within one operation is not seen.

    Attributes:
        live: Bytes held now.
        peak: The most they have been.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}

    def know(self, tensors: list[Tensor], counted: bool = False) -> None:
        """Take note of tensors that are there already.

        Args:
            tensors: Made before.
            counted: Count them here; else they are counted elsewhere.
        """
        for tensor in tensors:
            self._add(tensor, counted)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it made."""
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor) and leaf.is_meta:
                self._add(leaf)
        return out

    def _add(self, tensor: Tensor, counted: bool = True) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes() if counted else 0
        weakref.finalize(storage, self._drop, key)
        self.live += self._sizes[key]
        self.peak = max(self.peak, self.live)

    def _drop(self, key: int) -> None:
        self.live -= self._sizes.pop(key)


def flash_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """In memory what the fused kernel is, which the meta device lacks: same inputs, outputs and saved tensors.

    Args:
        query: ``(rows, heads, tokens, dim)``.
        key: ``(rows, kv_heads, tokens, dim)``.
        value: Same shape.
    """
    output: Any = _FlashAttention.apply(query, key, value)
    return output


class _FlashAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, output, query.new_empty(query.shape[:3], dtype=torch.float32))
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        query, key, value, _, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


def grouped_matmul(rows: Tensor, weight: Tensor, offs: Tensor) -> Tensor:
    """In memory what experts' fused matmul is, which the meta device has in bfloat16 only.

    Args:
        rows: ``(tokens, inputs)``, sorted by expert.
        weight: ``(experts, inputs, outputs)``.
        offs: Where each expert's rows end.
    """
    output: Any = _GroupedMatmul.apply(rows, weight)
    return output


class _GroupedMatmul(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return rows.new_empty((rows.shape[0], weight.shape[2]))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return tuple(
            torch.empty_like(saved) if needed else None
            for saved, needed in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=True)
        )
