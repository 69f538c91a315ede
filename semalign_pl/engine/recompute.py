"""Activation recomputation (gradient checkpointing) that works with packed batches and shared prompts."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch.utils.checkpoint import checkpoint

from semalign_pl.engine.packed_batch import packed_attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextlib.contextmanager
def recomputation(decoder: PreTrainedModel, on: bool, packed: bool = True) -> Iterator[None]:
    """Keep only the input of each decoder layer, and compute the rest again in backward (arXiv 1604.06174).

    Hugging Face's gradient checkpointing cannot be used: it drops the KV cache in train mode, and with it the shared
    prompt.

    Args:
        decoder: Decoder of transformers.
        on: Flag to recompute; without it, or without gradients, nothing changes.
        packed: Flag for the forward of a packed batch, whose attention the recomputation needs too.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    def contexts() -> tuple[contextlib.AbstractContextManager[None], contextlib.AbstractContextManager[None]]:
        return contextlib.nullcontext(), packed_attention(decoder) if packed else contextlib.nullcontext()

    layers = [m for m in decoder.modules() if isinstance(m, GradientCheckpointingLayer)] if on else []
    try:
        for layer in layers if torch.is_grad_enabled() else []:
            layer.forward = functools.partial(checkpoint, layer.forward, use_reentrant=False, context_fn=contexts)
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)
