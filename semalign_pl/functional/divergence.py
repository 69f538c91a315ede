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


def logit_gradient(
    kind: FullDivergence,
    target_logps: Float[Tensor, "*dims vocabulary"],
    logps: Float[Tensor, "*dims vocabulary"],
) -> Float[Tensor, "*dims vocabulary"]:
    """Gradient of ``divergence`` with respect to the policy's logits at temperature 1.

    ``forward_kl``: ``p - q``. ``reverse_kl``: ``p (log p - log q - KL(p || q))``. ``jsd``: half of the latter with the
    mixture m in place of q, because the derivatives by m cancel.

    Args:
        kind: Divergence to derive.
        target_logps: Log-probs of the target.
        logps: Log-probs of the policy.
    """
    probabilities = logps.exp()
    if kind == "forward_kl":
        return probabilities - target_logps.exp()
    factor = 1.0
    if kind == "jsd":
        target_logps, factor = torch.logaddexp(target_logps, logps) - math.log(2), 0.5
    # A token that the policy excludes has no gradient; its difference may be NaN.
    difference = (logps - target_logps).masked_fill(probabilities == 0, 0.0)
    mean = (probabilities * difference).sum(-1, keepdim=True)
    return factor * probabilities * (difference - mean)


def _kl(of: Float[Tensor, "*dims vocabulary"], to: Float[Tensor, "*dims vocabulary"]) -> Float[Tensor, " *dims"]:
    """KL(of || to); a token without probability adds 0, also if ``to`` excludes it (-inf minus -inf is NaN)."""
    probabilities = of.exp()
    return (probabilities * (of - to).masked_fill(probabilities == 0, 0.0)).sum(-1)
