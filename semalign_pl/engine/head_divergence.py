"""Divergence of a policy from a target by chunks, without ever holding the (tokens x vocabulary) logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from semalign_pl.engine.head import vocabulary_chunks
from semalign_pl.functional.divergence import FullDivergence, divergence, logit_gradient

Head = Callable[[Float[Tensor, "tokens hidden"]], Float[Tensor, "tokens vocabulary"]]


def linear_divergence(
    kind: FullDivergence,
    hidden: Float[Tensor, "tokens hidden"],
    target: Float[Tensor, "tokens hidden"],
    weight: Float[Tensor, "vocabulary hidden"],
    bias: Float[Tensor, " vocabulary"] | None,
    temperatures: Float[Tensor, " tokens"],
) -> Float[Tensor, " tokens"]:
    """Divergence under a frozen linear head that policy and target share.

    As in ``linear_logprobs``, the gradient with respect to a token's hidden state is one vector, which forward computes
    while the chunk's probabilities exist: ``logit_gradient @ W / temperature``.

    Args:
        kind: Divergence to compute.
        hidden: Last hidden states of the policy.
        target: Last hidden states of the target, without gradient.
        weight: Weight of the head, frozen.
        bias: Bias of the head, frozen.
        temperatures: Temperature per token, float32; divides the logits of both.

    Returns:
        Divergence per token, float32 in nats, with gradient to ``hidden``.
    """
    result = _LinearDivergence.apply(kind, hidden, target, weight, bias, temperatures)
    assert isinstance(result, Tensor)
    return result


class _Context(Protocol):
    """Values that forward keeps for backward."""

    saved_tensors: tuple[Tensor, ...]
    needs_input_grad: tuple[bool, ...]

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...


class _LinearDivergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _Context,
        kind: FullDivergence,
        hidden: Tensor,
        target: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        temperatures: Tensor,
    ) -> Tensor:
        values = hidden.new_empty(len(hidden), dtype=torch.float32)
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[1] else None
        for chunk in vocabulary_chunks(len(hidden), len(weight)):
            temperature = temperatures[chunk].unsqueeze(1)
            target_logps, logps = (
                torch.nn.functional.linear(states[chunk], weight, bias).float().div_(temperature).log_softmax(-1)
                for states in (target, hidden)
            )
            values[chunk] = divergence(kind, target_logps, logps)
            if gradient is not None:
                by_logits = logit_gradient(kind, target_logps, logps).div_(temperature)
                gradient[chunk] = by_logits.to(weight.dtype) @ weight
        ctx.save_for_backward(gradient)
        return values

    @staticmethod
    def backward(ctx: _Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return None, gradient * gradients[0].unsqueeze(1).to(gradient.dtype), None, None, None, None


def head_divergence(
    kind: FullDivergence,
    head: Head,
    target_head: Head,
    vocabulary: int,
    hidden: Float[Tensor, "tokens hidden"],
    target: Float[Tensor, "tokens hidden"],
    temperatures: Float[Tensor, " tokens"],
) -> Float[Tensor, " tokens"]:
    """Divergence under any heads; backward computes each chunk's logits again.

    Args:
        kind: Divergence to compute.
        head: Function from hidden states of the policy to logits; may be trained.
        target_head: Function from hidden states of the target to logits, called without gradient.
        vocabulary: Number of logits per token.
        hidden: Last hidden states of the policy.
        target: Last hidden states of the target, without gradient.
        temperatures: Temperature per token, float32; divides the logits of both.

    Returns:
        Divergence per token, float32 in nats, with gradient.
    """

    def forward(hidden: Tensor, target: Tensor, temperatures: Tensor) -> Tensor:
        temperature = temperatures.unsqueeze(1)
        with torch.no_grad():
            target_logps = (target_head(target).float() / temperature).log_softmax(-1)
        return divergence(kind, target_logps, (head(hidden).float() / temperature).log_softmax(-1))

    inputs = (hidden, target, temperatures)
    return torch.cat(
        [
            checkpoint(forward, *(x[chunk] for x in inputs), use_reentrant=False)
            for chunk in vocabulary_chunks(len(hidden), vocabulary)
        ]
    )
