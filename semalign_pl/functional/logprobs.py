"""Log-probs of given tokens, and entropy, from logits."""

from __future__ import annotations

import torch  # noqa: F401  (the doctests need it)
from jaxtyping import Float, Int
from torch import Tensor


def selected_logprobs(
    logits: Float[Tensor, "*dims vocabulary"], ids: Int[Tensor, " *dims"], temperature: float = 1.0
) -> Float[Tensor, " *dims"]:
    """Log-probs of given tokens under ``softmax(logits / temperature)``.

    The temperature divides the *logits*, so that log-probs and samples are of the same distribution. The log-sum-exp is
    computed in float32 for any dtype. Top-p is not applied: log-probs are over the full vocabulary for policy,
    old policy and reference, so their ratios are consistent.

    Args:
        logits: Logits of any precision.
        ids: Token ids.
        temperature: Sampling temperature, above 0.

    Returns:
        Log-probs, float32 in nats, each at most 0.

    >>> selected_logprobs(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).exp()
    tensor([0.5000])
    """
    logits = logits.float() / temperature
    chosen = logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    return chosen - logits.logsumexp(-1)


def entropy(logits: Float[Tensor, "*dims vocabulary"], temperature: float = 1.0) -> Float[Tensor, " *dims"]:
    """Shannon entropy of ``softmax(logits / temperature)``.

    Args:
        logits: Logits of any precision.
        temperature: Sampling temperature, above 0.

    Returns:
        Entropy, float32 in nats.

    >>> entropy(torch.zeros(1, 4)).exp().round()
    tensor([4.])
    """
    logps = (logits.float() / temperature).log_softmax(-1)
    return -(logps.exp() * logps).sum(-1)
