"""Log-probs of given tokens, and entropy, from logits."""

from __future__ import annotations

import torch  # noqa: F401  (the doctests need it)
from torch import Tensor


def selected_logprobs(logits: Tensor, ids: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probs of given tokens under ``softmax(logits / temperature)``.

    The temperature divides the *logits*, so that log-probs and samples are of the same distribution. The log-sum-exp is
    computed in float32 for any dtype. Top-p is not applied: log-probs are over the full vocabulary for policy,
    old policy and reference, so their ratios are consistent.

    Args:
        logits: Logits, ``(..., vocabulary)`` float.
        ids: Token ids, ``(...)`` int64.
        temperature: Sampling temperature, above 0.

    Returns:
        ``(...)`` float32, in nats, each at most 0.

    >>> selected_logprobs(torch.tensor([[0.0, 0.0]]), torch.tensor([1])).exp()
    tensor([0.5000])
    """
    logits = logits.float() / temperature
    chosen = logits.gather(-1, ids.unsqueeze(-1)).squeeze(-1)
    return chosen - logits.logsumexp(-1)


def entropy(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Shannon entropy of ``softmax(logits / temperature)``.

    Args:
        logits: Logits, ``(..., vocabulary)`` float.
        temperature: Sampling temperature, above 0.

    Returns:
        ``(...)`` float32, in nats.

    >>> entropy(torch.zeros(1, 4)).exp().round()
    tensor([4.])
    """
    logps = (logits.float() / temperature).log_softmax(-1)
    return -(logps.exp() * logps).sum(-1)
