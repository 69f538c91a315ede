"""Chunked head: log-probs from hidden states, without ever holding the (tokens x vocabulary) logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from semalign_pl.functional.logprobs import entropy, selected_logprobs

CHUNK_ELEMENTS = 2**24
"""Number of logits per chunk: 64 MiB in float32."""


def linear_logprobs(
    hidden: Float[Tensor, "tokens hidden"],
    weight: Float[Tensor, "vocabulary hidden"],
    bias: Float[Tensor, " vocabulary"] | None,
    ids: Int[Tensor, " tokens"],
    temperatures: Float[Tensor, " tokens"],
    rows: Float[Tensor, "trained hidden"] | None = None,
    first: int = 0,
) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
    """Log-probs of tokens and entropy under a frozen linear head, of which some rows may be trained.

    A token's log-prob depends only on its own hidden state, so its gradient is one vector per token, scaled by the
    incoming gradient: ``d logp / d hidden = (W[id] - E_p[W]) / temperature``. The vector is computed in forward, while
    the chunk's probabilities exist, and backward only scales it: no logits are kept or computed twice. For trained rows
    the logits of these rows are computed again: ``d logp / d row = (1[row is id] - p[row]) hidden / temperature``,
    summed over tokens.

    Args:
        hidden: Last hidden states.
        weight: Weight of the head, frozen.
        bias: Bias of the head, frozen.
        ids: Token ids.
        temperatures: Temperature per token, float32; divides the logits.
        rows: Trained rows that replace rows of ``weight`` from ``first`` on.
        first: Index of the first replaced row.

    Returns:
        Log-probs (with gradient) and entropy (without), float32 in nats.
    """
    logps, entropies = _LinearLogprobs.apply(hidden, weight, bias, ids, temperatures, rows, first)
    return logps, entropies


class _Context(Protocol):
    """Values that forward keeps for backward."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]
    first: int
    computed: torch.dtype

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...

    def mark_non_differentiable(self, *tensors: Tensor) -> None: ...


class _LinearLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _Context,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        ids: Tensor,
        temperatures: Tensor,
        rows: Tensor | None,
        first: int,
    ) -> tuple[Tensor, Tensor]:
        logps = hidden.new_empty(len(ids), dtype=torch.float32)
        entropies, normaliser = torch.empty_like(logps), torch.empty_like(logps)
        trained_rows = None if rows is None else rows.to(weight.dtype)
        trained_ids = slice(first, first + (0 if rows is None else len(rows)))
        logp_gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        for chunk in vocabulary_chunks(len(ids), len(weight)):
            chosen, temperature = ids[chunk].unsqueeze(1), temperatures[chunk].unsqueeze(1)
            # 1. Logits of the chunk. Two buffers, one exponential, everything else in place: memory is the bottleneck.
            scaled = torch.nn.functional.linear(hidden[chunk], weight, bias)
            ctx.computed = scaled.dtype  # under autocast it is not the weights'
            if trained_rows is not None:
                scaled[:, trained_ids] = torch.nn.functional.linear(hidden[chunk], trained_rows)
            scaled = scaled.float().div_(temperature)
            # 2. A stable softmax in float32: with the highest logit subtracted, no exponential overflows.
            highest = scaled.amax(-1, keepdim=True)
            scaled -= highest
            probabilities = scaled.exp()
            total = probabilities.sum(-1, keepdim=True)
            probabilities /= total
            # 3. Log-prob of the chosen token, and entropy: a logit of -inf has probability 0, but 0 * -inf is NaN.
            normaliser[chunk] = (highest + total.log()).squeeze(1)
            logps[chunk] = (scaled.gather(1, chosen) - total.log()).squeeze(1)
            # Not by bmm, which autocast computes in bfloat16.
            mean = scaled.nan_to_num_(neginf=0.0).mul_(probabilities).sum(-1)
            entropies[chunk] = total.log().squeeze(1) - mean
            # 4. The gradient with respect to hidden states, while the probabilities exist: backward then needs no
            # logits, neither kept nor computed again.
            if logp_gradient is not None:
                probabilities.scatter_add_(1, chosen, probabilities.new_full(chosen.shape, -1.0))
                probabilities.div_(-temperature)
                by_rows = None
                if trained_rows is not None:
                    by_rows = probabilities[:, trained_ids].to(trained_rows.dtype) @ trained_rows
                probabilities[:, trained_ids] = 0.0
                logp_gradient[chunk] = probabilities.to(weight.dtype) @ weight
                if by_rows is not None:
                    logp_gradient[chunk] += by_rows
        trained = ctx.needs_input_grad[5]
        ctx.first = first
        ctx.save_for_backward(logp_gradient, *((hidden, ids, temperatures, normaliser, rows) if trained else ()))
        ctx.mark_non_differentiable(entropies)
        return logps, entropies

    @staticmethod
    def backward(ctx: _Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        logp_gradient, *rest = ctx.saved_tensors
        grad_logps = gradients[0]
        grad_hidden = None if logp_gradient is None else logp_gradient * grad_logps.unsqueeze(1).to(logp_gradient.dtype)
        grad_rows = _rows_gradient(grad_logps, ctx.first, ctx.computed, *rest) if rest else None
        return grad_hidden, None, None, None, None, grad_rows, None


def _rows_gradient(
    grad_logps: Float[Tensor, " tokens"],
    first: int,
    computed: torch.dtype,
    hidden: Float[Tensor, "tokens hidden"],
    ids: Int[Tensor, " tokens"],
    temperatures: Float[Tensor, " tokens"],
    normaliser: Float[Tensor, " tokens"],
    rows: Float[Tensor, "trained hidden"],
) -> Float[Tensor, "trained hidden"]:
    """Gradient of trained rows; only the logits of these rows are computed again."""
    gradient = torch.zeros_like(rows)
    place = torch.arange(first, first + len(rows), device=ids.device)
    own = rows.to(computed)
    for chunk in vocabulary_chunks(len(ids), len(rows)):
        temperature = temperatures[chunk].unsqueeze(1)
        logits = torch.nn.functional.linear(hidden[chunk].to(computed), own).float()
        share = (ids[chunk].unsqueeze(1) == place).float() - (
            logits / temperature - normaliser[chunk].unsqueeze(1)
        ).exp()
        gradient += (share * (grad_logps[chunk].unsqueeze(1) / temperature)).t() @ hidden[chunk].float()
    return gradient


def head_logprobs(
    head: Callable[[Float[Tensor, "tokens hidden"]], Float[Tensor, "tokens vocabulary"]],
    vocabulary: int,
    hidden: Float[Tensor, "tokens hidden"],
    ids: Int[Tensor, " tokens"],
    temperatures: Float[Tensor, " tokens"],
) -> tuple[Float[Tensor, " tokens"], Float[Tensor, " tokens"]]:
    """Log-probs of tokens and entropy under any head; backward computes each chunk's logits again.

    Args:
        head: Function from hidden states to logits; may be trained.
        vocabulary: Number of logits per token.
        hidden: Last hidden states.
        ids: Token ids.
        temperatures: Temperature per token, float32; divides the logits.

    Returns:
        Log-probs (with gradient) and entropy (without), float32 in nats.
    """

    def forward(hidden: Tensor, ids: Tensor, temperatures: Tensor) -> tuple[Tensor, Tensor]:
        logits = head(hidden).float() / temperatures.unsqueeze(1)
        return selected_logprobs(logits, ids), entropy(logits.detach())

    inputs = (hidden, ids, temperatures)
    outputs = [
        checkpoint(forward, *(x[chunk] for x in inputs), use_reentrant=False)
        for chunk in vocabulary_chunks(len(ids), vocabulary)
    ]
    logps, entropies = zip(*outputs, strict=True)
    return torch.cat(logps), torch.cat(entropies)


def vocabulary_chunks(tokens: int, vocabulary: int) -> list[slice]:
    """Slices of tokens whose logits fit ``CHUNK_ELEMENTS``."""
    size = max(1, CHUNK_ELEMENTS // vocabulary)
    return [slice(start, start + size) for start in range(0, tokens, size)]
