"""Trained rows of a frozen embedding: PEFT's parameters and files, without its copy of the whole matrix."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class _TrainedRows(Protocol):
    """The members of PEFT's ``TrainableTokensLayer`` that are used here, of which torch hides the types."""

    base_layer: nn.Embedding | nn.Linear
    trainable_tokens_delta: Mapping[str, Tensor]
    token_indices: Mapping[str, list[int]]

    @property
    def active_adapters(self) -> list[str]: ...
    @property
    def disable_adapters(self) -> bool: ...
    def _get_embed_scale(self) -> Tensor | None: ...


def fast_row_forward(model: nn.Module) -> None:
    """Replace the forward of embeddings and heads with trained rows by one that does not copy the matrix.

    PEFT writes the rows into a copy of the matrix in every forward: for Qwen3-4B 778 MB, twice per token of a rollout.
    Layers whose trained rows are not consecutive keep PEFT's forward.

    Args:
        model: PEFT model; changed in place.
    """
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    for layer in model.modules():
        if isinstance(layer, TrainableTokensLayer) and all(map(_consecutive, layer.token_indices.values())):
            embeds = isinstance(layer.get_base_layer(), nn.Embedding)
            layer.forward = types.MethodType(_embed if embeds else _head, layer)


def rows_of(layer: nn.Module) -> tuple[Any, Tensor | None, int]:
    """Frozen layer and active trained rows of an embedding or head.

    Args:
        layer: Embedding or head, wrapped by PEFT or not.

    Returns:
        Frozen layer; float32 rows that currently replace some of its own, or ``None``; index of the first replaced row.
        A layer that kept PEFT's forward is returned unchanged, without rows.
    """
    inner = getattr(layer, "token_adapter", None)
    if inner is None or "forward" not in vars(inner):
        return layer, None, 0
    return inner.get_base_layer(), *_active(inner)


def _consecutive(indices: list[int]) -> bool:
    return indices == list(range(indices[0], indices[0] + len(indices)))


def _active(layer: _TrainedRows) -> tuple[Tensor | None, int]:
    names = [] if layer.disable_adapters else [n for n in layer.active_adapters if n in layer.trainable_tokens_delta]
    if not names:
        return None, 0
    (name,) = names
    return layer.trainable_tokens_delta[name], layer.token_indices[name][0]


def _embed(self: _TrainedRows, x: Tensor) -> Tensor:
    result = self.base_layer(x)
    rows, first = _active(self)
    if rows is None:
        return result
    place = x - first
    own = nn.functional.embedding(place.clamp(0, len(rows) - 1), rows.to(self.base_layer.weight.dtype))
    scale = self._get_embed_scale()  # Gemma 3 scales in its embedding
    own = own if scale is None else own * scale.to(own.dtype)
    return torch.where(((place >= 0) & (place < len(rows))).unsqueeze(-1), own, result)


def _head(self: _TrainedRows, x: Tensor) -> Tensor:
    logits = self.base_layer(x)
    rows, first = _active(self)
    if rows is not None:
        logits[..., first : first + len(rows)] = nn.functional.linear(x, rows.to(self.base_layer.weight.dtype))
    return logits
