"""Chunked head: log-probs from hidden states, without ever holding the (tokens x vocabulary) logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from semalign_pl.functional.logprobs import entropy, selected_logprobs

CHUNK_ELEMENTS = 2**24
"""Number of logits per chunk: 64 MiB in float32."""


def linear_logprobs(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    ids: Tensor,
    temperatures: Tensor,
    rows: Tensor | None = None,
    first: int = 0,
) -> tuple[Tensor, Tensor]:
    """Log-probs of tokens and entropy under a frozen linear head, of which some rows may be trained.

    A token's log-prob depends only on its own hidden state, so its gradient is one vector per token, scaled by the
    incoming gradient: ``d logp / d hidden = (W[id] - E_p[W]) / temperature``. The vector is computed in forward, while
    the chunk's probabilities exist, and backward only scales it: no logits are kept or computed twice. For trained rows
    the logits of these rows are computed again: ``d logp / d row = (1[row is id] - p[row]) hidden / temperature``,
    summed over tokens.

    Args:
        hidden: Last hidden states, ``(tokens, hidden)`` float.
        weight: Weight of the head, ``(vocabulary, hidden)``, frozen.
        bias: Bias of the head, ``(vocabulary,)``, frozen, or ``None``.
        ids: Token ids, ``(tokens,)`` int64.
        temperatures: Temperature per token, ``(tokens,)`` float32; divides the logits.
        rows: Trained rows ``(rows, hidden)`` that replace rows of ``weight`` from ``first`` on, or ``None``.
        first: Index of the first replaced row.

    Returns:
        Log-probs (with gradient) and entropy (without), each ``(tokens,)`` float32 in nats.
    """
    output: Any = _LinearLogprobs.apply(hidden, weight, bias, ids, temperatures, rows, first)
    return output


class _LinearLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        ids: Tensor,
        temperatures: Tensor,
        rows: Tensor | None,
        first: int,
    ) -> tuple[Tensor, Tensor]:
        logps = hidden.new_empty(len(ids), dtype=torch.float32)
        spread, normaliser = torch.empty_like(logps), torch.empty_like(logps)
        own = None if rows is None else rows.to(weight.dtype)
        place = slice(first, first + (0 if rows is None else len(rows)))
        wanted = ctx.needs_input_grad[0]
        slope = torch.empty_like(hidden) if wanted else None
        for part in _chunks(len(ids), len(weight)):
            chosen, temperature = ids[part].unsqueeze(1), temperatures[part].unsqueeze(1)
            # 1. Logits of the chunk. Two buffers, one exponential, everything else in place: memory is the bottleneck.
            scaled = torch.nn.functional.linear(hidden[part], weight, bias)
            ctx.computed = scaled.dtype  # under autocast it is not the weights'
            if own is not None:
                scaled[:, place] = torch.nn.functional.linear(hidden[part], own)
            scaled = scaled.float().div_(temperature)
            # 2. A stable softmax in float32.
            highest = scaled.amax(-1, keepdim=True)
            scaled -= highest
            probabilities = scaled.exp()
            total = probabilities.sum(-1, keepdim=True)
            probabilities /= total
            # 3. What is returned: log-prob of the chosen token, and entropy.
            normaliser[part] = (highest + total.log()).squeeze(1)
            logps[part] = (scaled.gather(1, chosen) - total.log()).squeeze(1)
            mean = torch.bmm(probabilities.unsqueeze(1), scaled.nan_to_num_(neginf=0.0).unsqueeze(2)).flatten()
            spread[part] = total.log().squeeze(1) - mean
            # 4. The gradient by hidden states, while the probabilities are here.
            if slope is not None:
                probabilities.scatter_add_(1, chosen, probabilities.new_full(chosen.shape, -1.0))
                probabilities.div_(-temperature)
                by_rows = None if own is None else probabilities[:, place].to(own.dtype) @ own
                probabilities[:, place] = 0.0
                slope[part] = probabilities.to(weight.dtype) @ weight
                if by_rows is not None:
                    slope[part] += by_rows
        trained = ctx.needs_input_grad[5]
        ctx.first = first
        ctx.save_for_backward(slope, *((hidden, ids, temperatures, normaliser, rows) if trained else ()))
        ctx.mark_non_differentiable(spread)
        return logps, spread

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        slope, *rest = ctx.saved_tensors
        above = gradients[0]
        of_hidden = None if slope is None else slope * above.unsqueeze(1).to(slope.dtype)
        of_rows = _rows_gradient(above, ctx.first, ctx.computed, *rest) if rest else None
        return of_hidden, None, None, None, None, of_rows, None


def _rows_gradient(
    above: Tensor,
    first: int,
    computed: torch.dtype,
    hidden: Tensor,
    ids: Tensor,
    temperatures: Tensor,
    normaliser: Tensor,
    rows: Tensor,
) -> Tensor:
    """Gradient of trained rows; only the logits of these rows are computed again."""
    gradient = torch.zeros_like(rows)
    place = torch.arange(first, first + len(rows), device=ids.device)
    own = rows.to(computed)
    for part in _chunks(len(ids), len(rows)):
        temperature = temperatures[part].unsqueeze(1)
        logits = torch.nn.functional.linear(hidden[part].to(computed), own).float()
        share = (ids[part].unsqueeze(1) == place).float() - (logits / temperature - normaliser[part].unsqueeze(1)).exp()
        gradient += (share * (above[part].unsqueeze(1) / temperature)).t() @ hidden[part].float()
    return gradient


def head_logprobs(
    head: Callable[[Tensor], Tensor], vocabulary: int, hidden: Tensor, ids: Tensor, temperatures: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-probs of tokens and entropy under any head; backward computes each chunk's logits again.

    Args:
        head: Function from hidden states ``(tokens, hidden)`` to logits ``(tokens, vocabulary)``; may be trained.
        vocabulary: Number of logits per token.
        hidden: Last hidden states, ``(tokens, hidden)`` float.
        ids: Token ids, ``(tokens,)`` int64.
        temperatures: Temperature per token, ``(tokens,)`` float32; divides the logits.

    Returns:
        Log-probs (with gradient) and entropy (without), each ``(tokens,)`` float32 in nats.
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
