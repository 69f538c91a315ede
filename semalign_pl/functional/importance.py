"""Correction for completions whose sampler computes other probabilities than the policy under training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor


class SamplerWeights(NamedTuple):
    """Truncated importance weights of tokens, and values to log.

    Attributes:
        weights: Weight per token, without gradient; 1 in padding.
        logged: Values per token by log name: ``sampler_ratio``, the ratio before truncation; ``sampler_truncated``, 1
            where it was truncated; and ``sampler_kl``, the log-ratio with the opposite sign, whose mean over samples
            estimates KL(sampler || policy) in nats.
    """

    weights: Float[Tensor, "completions tokens"]
    logged: Mapping[str, Float[Tensor, "completions tokens"]]


def sampler_weights(
    old_logps: Float[Tensor, "completions tokens"],
    sampler_logps: Float[Tensor, "completions tokens"],
    completion_mask: Bool[Tensor, "completions tokens"],
    max_ratio: float,
) -> SamplerWeights:
    """Truncated importance sampling: ``min(p / q, C)`` with ``p`` of the policy and ``q`` of the sampler, per token.

    An inference engine computes the same weights in another precision and order, so that it samples from a slightly
    different distribution. The weights correct the policy gradient for that. Truncation bounds their variance (Ionides,
    2008, doi 10.1198/106186008X320456). The per-token form is that of Yao et al., 2025, "Your efficient RL framework
    secretly brings you off-policy RL training".

    Args:
        old_logps: Log-probs of the policy before the first update of this batch, without dropout, in nats.
        sampler_logps: Log-probs that the sampler drew the tokens with, in nats.
        completion_mask: Mask of the tokens in the loss.
        max_ratio: Largest weight, C.

    >>> import torch
    >>> old, sampler = torch.tensor([[0.5, 0.9, 0.3]]).log(), torch.tensor([[0.5, 0.3, 0.6]]).log()
    >>> sampler_weights(old, sampler, torch.ones(1, 3, dtype=torch.bool), 2.0).weights
    tensor([[1.0000, 2.0000, 0.5000]])
    """
    log_ratio = (old_logps - sampler_logps).masked_fill(~completion_mask, 0.0)
    ratio = log_ratio.exp()
    logged = {"sampler_ratio": ratio, "sampler_truncated": (ratio > max_ratio).float(), "sampler_kl": -log_ratio}
    return SamplerWeights(ratio.clamp(max=max_ratio), logged)
