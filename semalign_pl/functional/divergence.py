"""Divergence of a policy from a target distribution, per token over the full vocabulary, and its gradient by logits.

The target is constant: no gradient flows to it. All values are in nats.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

FullDivergence = Literal["forward_kl", "reverse_kl", "jsd"]
"""Divergence over the full vocabulary: KL(target || policy), KL(policy || target), or their Jensen-Shannon."""
Divergence = Literal["forward_kl", "reverse_kl", "jsd", "k3"]
"""``FullDivergence``, or the k3 estimate of KL(policy || target) from the completion's own tokens."""


def divergence(
    kind: FullDivergence,
    target_logps: Float[Tensor, "*dims vocabulary"],
    logps: Float[Tensor, "*dims vocabulary"],
) -> Float[Tensor, " *dims"]:
    """Divergence of a policy from a target.

    ``forward_kl`` is ``sum q (log q - log p)`` for target q and policy p; ``reverse_kl`` is ``sum p (log p - log q)``.
    ``jsd`` is the mean of KL(q || m) and KL(p || m) with ``m = (q + p) / 2``. They are GKD's divergences with
    coefficients 0, 1 and 1/2 (arXiv 2306.13649, equation 1, and section 2).

    Args:
        kind: Divergence to compute.
        target_logps: Log-probs of the target.
        logps: Log-probs of the policy.

    Returns:
        Divergence; infinite if one distribution excludes a token that the other has and ``kind`` divides by it.

    >>> certain, even = torch.tensor([0.0, -torch.inf]), torch.tensor([0.5, 0.5]).log()
    >>> divergence("forward_kl", certain, even)
    tensor(0.6931)
    >>> divergence("reverse_kl", certain, even)
    tensor(inf)
    """
    if kind == "forward_kl":
        return _kl(target_logps, logps)
    if kind == "reverse_kl":
        return _kl(logps, target_logps)
    mixture = torch.logaddexp(target_logps, logps) - math.log(2)
    return (_kl(target_logps, mixture) + _kl(logps, mixture)) / 2


def divergence_and_gradient(
    kind: FullDivergence,
    target_logps: Float[Tensor, "*dims vocabulary"],
    logps: Float[Tensor, "*dims vocabulary"],
) -> tuple[Float[Tensor, " *dims"], Float[Tensor, "*dims vocabulary"]]:
    """``divergence``, and its gradient with respect to the policy's logits at temperature 1, both without autograd.

    The gradient of ``forward_kl`` is ``p - q``, that of ``reverse_kl`` is ``p (log p - log q - KL(p || q))``. That of
    ``jsd`` is half of the latter with the mixture m in place of q, because the derivatives by m cancel.

    Args:
        kind: Divergence to compute.
        target_logps: Log-probs of the target.
        logps: Log-probs of the policy.
    """
    probabilities, target = logps.exp(), target_logps.exp()
    if kind == "forward_kl":
        return _expectation(target, target_logps - logps), probabilities.sub_(target)
    if kind == "reverse_kl":
        return _reverse(probabilities, logps - target_logps)
    mixture = torch.logaddexp(target_logps, logps) - math.log(2)
    value, gradient = _reverse(probabilities, logps - mixture)
    return (value + _expectation(target, target_logps - mixture)) / 2, gradient.div_(2)


def _reverse(
    probabilities: Float[Tensor, "*dims vocabulary"], difference: Float[Tensor, "*dims vocabulary"]
) -> tuple[Float[Tensor, " *dims"], Float[Tensor, "*dims vocabulary"]]:
    """Mean d of differences under the policy, and ``p (difference - d)``; a token without probability has none."""
    difference = difference.masked_fill(probabilities == 0, 0.0)
    mean = (probabilities * difference).sum(-1)  # not vecdot, which autocast computes in bfloat16
    return mean, probabilities * (difference - mean.unsqueeze(-1))


def _kl(of: Float[Tensor, "*dims vocabulary"], to: Float[Tensor, "*dims vocabulary"]) -> Float[Tensor, " *dims"]:
    """KL(of || to)."""
    return _expectation(of.exp(), of - to)


def _expectation(
    probabilities: Float[Tensor, "*dims vocabulary"], values: Float[Tensor, "*dims vocabulary"]
) -> Float[Tensor, " *dims"]:
    """Mean of values; one without probability adds 0, also if it is infinite or NaN (-inf minus -inf)."""
    return (probabilities * values.masked_fill(probabilities == 0, 0.0)).sum(-1)
