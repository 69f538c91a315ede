"""Log-probabilities straight from hidden states: the head in chunks, so that (tokens x vocabulary) never exists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from semalign_pl.functional.logprobs import entropy, selected_logprobs

CHUNK_ELEMENTS = 2**24
"""Logits held at once: 64 MiB in float32."""


def linear_logprobs(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, ids: Tensor, temperatures: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-probability of each token, and the entropy there, under a frozen linear head.

    A token's log-probability depends on its own hidden state alone, so the head's gradient is a vector a token times
    the scalar that comes from above: ``d logp / d hidden = (W[id] - E_p[W]) / temperature``. It is computed while the
    chunk's probabilities are there, and backward only scales it: no logits are kept, and none are computed twice.

    Args:
        hidden: ``(tokens, hidden)`` float.
        weight: ``(vocabulary, hidden)``, frozen.
        bias: ``(vocabulary,)``, frozen, or ``None``.
        ids: ``(tokens,)`` int64.
        temperatures: ``(tokens,)`` float32; each divides its token's logits.

    Returns:
        Log-probabilities with gradient, entropy without, each ``(tokens,)`` float32 in nats.
    """
    output: Any = _LinearLogprobs.apply(hidden, weight, bias, ids, temperatures)
    return output


class _LinearLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, ids: Tensor, temperatures: Tensor
    ) -> tuple[Tensor, Tensor]:
        logps = hidden.new_empty(len(ids), dtype=torch.float32)
        spread = torch.empty_like(logps)
        wanted = ctx.needs_input_grad[0]
        slope = torch.empty_like(hidden) if wanted else None
        for part in _chunks(len(ids), len(weight)):
            chosen, temperature = ids[part].unsqueeze(1), temperatures[part].unsqueeze(1)
            # Two buffers of a chunk's logits, one exponential, everything else in place.
            scaled = torch.nn.functional.linear(hidden[part], weight, bias).float().div_(temperature)
            scaled -= scaled.amax(-1, keepdim=True)
            probabilities = scaled.exp()
            total = probabilities.sum(-1, keepdim=True)
            probabilities /= total
            logps[part] = (scaled.gather(1, chosen) - total.log()).squeeze(1)
            mean = torch.bmm(probabilities.unsqueeze(1), scaled.nan_to_num_(neginf=0.0).unsqueeze(2)).flatten()
            spread[part] = total.log().squeeze(1) - mean
            if slope is not None:
                probabilities.scatter_add_(1, chosen, probabilities.new_full(chosen.shape, -1.0))
                slope[part] = probabilities.div_(-temperature).to(weight.dtype) @ weight
        ctx.save_for_backward(slope)
        ctx.mark_non_differentiable(spread)
        return logps, spread

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (slope,) = ctx.saved_tensors
        return slope * gradients[0].unsqueeze(1).to(slope.dtype), None, None, None, None


def head_logprobs(
    head: Callable[[Tensor], Tensor], vocabulary: int, hidden: Tensor, ids: Tensor, temperatures: Tensor
) -> tuple[Tensor, Tensor]:
    """``linear_logprobs`` for any head: each chunk's logits are computed again in backward.

    Args:
        head: Hidden states ``(tokens, hidden)`` to logits ``(tokens, vocabulary)``; may be trained.
        vocabulary: Its width.
        hidden: ``(tokens, hidden)`` float.
        ids: ``(tokens,)`` int64.
        temperatures: ``(tokens,)`` float32; each divides its token's logits.

    Returns:
        Log-probabilities with gradient, entropy without, each ``(tokens,)`` float32 in nats.
    """

    def chunk(hidden: Tensor, ids: Tensor, temperatures: Tensor) -> tuple[Tensor, Tensor]:
        logits = head(hidden).float() / temperatures.unsqueeze(1)
        return selected_logprobs(logits, ids), entropy(logits.detach())

    inputs = (hidden, ids, temperatures)
    parts = [
        checkpoint(chunk, *(x[part] for x in inputs), use_reentrant=False) for part in _chunks(len(ids), vocabulary)
    ]
    logps, spread = zip(*parts, strict=True)
    return torch.cat(logps), torch.cat(spread)


def _chunks(tokens: int, vocabulary: int) -> list[slice]:
    size = max(1, CHUNK_ELEMENTS // vocabulary)
    return [slice(start, start + size) for start in range(0, tokens, size)]
