"""Count the memory that tensor operations would take, while they run on the meta device."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class PeakBytes(TorchDispatchMode):
    """Context that counts the bytes of every storage created inside it, as long as the storage is alive.

    Storages from before are not counted. Workspace that a kernel allocates and frees within one operation is not seen.

    Attributes:
        live: Bytes alive now.
        peak: Maximum of ``live`` so far.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = 0
        self.peak = 0
        self._sizes: dict[int, int] = {}

    def know(self, tensors: list[Tensor], counted: bool = False) -> None:
        """Register tensors that already exist, so that operations which return them do not count them.

        Args:
            tensors: Tensors created before.
            counted: Count their bytes here; by default they are counted elsewhere.
        """
        for tensor in tensors:
            self._add(tensor, counted)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count its outputs."""
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
    """Substitute for the fused attention kernel, which the meta device lacks: same output shape, same saved tensors.

    Args:
        query: Queries, ``(rows, heads, tokens, dim)``.
        key: Keys, ``(rows, kv_heads, tokens, dim)``.
        value: Values, same shape as the keys.

    Returns:
        Tensor without data, same shape as the queries.
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
    """Substitute for the experts' fused matmul, which the meta device has in bfloat16 only.

    Args:
        rows: Hidden states, ``(tokens, inputs)``, sorted by expert.
        weight: Weights of the experts, ``(experts, inputs, outputs)``.
        offs: End offset of each expert's rows; not used.

    Returns:
        Tensor without data, ``(tokens, outputs)``.
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
