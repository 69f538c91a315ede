"""Log-probabilities of chosen tokens and entropy, from logits."""

from __future__ import annotations

import torch  # noqa: F401  (the doctests need it)
from torch import Tensor


def selected_logprobs(logits: Tensor, ids: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability of each chosen token under ``softmax(logits / temperature)``.

    The temperature divides the *logits*, so that the distribution scored is the distribution sampled from. The
    log-sum-exp is taken in float32 whatever the dtype of the logits. Top-p is not applied: log-probabilities are over
    the full vocabulary, for policy, old policy and reference alike, so their ratios are consistent.

    Args:
        logits: ``(..., vocabulary)`` float.
        ids: ``(...)`` int64.
        temperature: Positive sampling temperature.

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
        logits: ``(..., vocabulary)`` float.
        temperature: Positive sampling temperature.

    Returns:
        ``(...)`` float32, in nats.

    >>> entropy(torch.zeros(1, 4)).exp().round()
    tensor([4.])
    """
    logps = (logits.float() / temperature).log_softmax(-1)
    return -(logps.exp() * logps).sum(-1)
