"""Losses as pure functions; each returns a *sum*, and the caller divides once by the whole step's denominator.

Summing first is what makes one batch of eight and eight batches of one give the same gradient.
"""

from __future__ import annotations

from torch import Tensor


def nll_sum(logps: Tensor, mask: Tensor) -> Tensor:
    """Negative log-likelihood summed over completion tokens.

    Args:
        logps: ``(rows, tokens)`` float32, in nats.
        mask: ``(rows, tokens)`` bool, true on completion tokens.

    Returns:
        Scalar, in nats. Divide by the step's number of completion tokens for the SFT loss.
    """
    return -logps.masked_fill(~mask, 0.0).sum()


def kl_k3(logps: Tensor, reference_logps: Tensor) -> Tensor:
    """Schulman's k3 estimate of KL(policy || reference) a token: ``exp(d) - d - 1`` with ``d = reference - policy``.

    Unbiased for samples of the policy and never negative (http://joschu.net/blog/kl-approx.html). TRL 1.16 multiplies
    it by the importance ratio by default (``use_bias_correction_kl``); we use the plain estimator of DeepSeekMath,
    arXiv 2402.03300, equation 4.

    Args:
        logps: ``(rows, tokens)`` float32, with gradient.
        reference_logps: ``(rows, tokens)`` float32, without.

    Returns:
        ``(rows, tokens)`` float32, in nats.
    """
    difference = reference_logps - logps
    return difference.exp() - difference - 1


def clipped_ratio(
    logps: Tensor, old_logps: Tensor, advantages: Tensor, epsilon: float, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate a token, ``-min(r A, clip(r, 1 - e, 1 + e) A)`` (arXiv 1707.06347, equation 7).

    Args:
        logps: ``(rows, tokens)`` float32, with gradient.
        old_logps: ``(rows, tokens)`` float32: the policy's own, before this batch's first update.
        advantages: ``(rows,)`` float32.
        epsilon: Half-width of the trust region.
        mask: ``(rows, tokens)`` bool, true on completion tokens.

    Returns:
        The loss a token ``(rows, tokens)``, and where clipping took the gradient away ``(rows, tokens)`` bool.
    """
    # Padding holds arbitrary log-probs; a ratio of them may overflow, and inf * 0 would be NaN.
    ratio = (logps - old_logps).masked_fill(~mask, 0.0).exp()
    advantage = advantages.unsqueeze(1)
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon)
    loss = -(ratio * advantage).minimum(clipped * advantage)
    beyond = ((ratio > 1 + epsilon) & (advantage > 0)) | ((ratio < 1 - epsilon) & (advantage < 0))
    return loss, beyond & mask


def mean_over_tokens_sum(per_token: Tensor, mask: Tensor) -> Tensor:
    """Sum over rows of each row's mean over its tokens; divide by the step's rows for GRPO's objective.

    DeepSeekMath, arXiv 2402.03300, equation 3: every completion weighs the same, however long. An empty row adds 0.

    Args:
        per_token: ``(rows, tokens)`` float32.
        mask: ``(rows, tokens)`` bool.

    Returns:
        Scalar.
    """
    return (per_token.masked_fill(~mask, 0.0).sum(1) / mask.sum(1).clamp(min=1)).sum()
