"""Losses as pure functions; each returns a *sum*, and the caller divides once by the whole step's denominator.

Summing first is what makes one batch of eight and eight batches of one give the same gradient.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

LossType = Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo"]
Level = Literal["token", "sequence"]


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


def importance_ratio(logps: Tensor, old_logps: Tensor, mask: Tensor, level: Level = "token") -> Tensor:
    """Probability under the policy over that under the old policy.

    Args:
        logps: ``(rows, tokens)`` float32, with gradient.
        old_logps: ``(rows, tokens)`` float32: the policy's own, before this batch's first update.
        mask: ``(rows, tokens)`` bool, true on completion tokens.
        level: ``token``: each its own (arXiv 1707.06347). ``sequence``: a row's geometric mean over its tokens, the
            same for all of them (GSPO, arXiv 2507.18071, equation 7).

    Returns:
        ``(rows, tokens)`` float32; 1 in the padding of token ratios.
    """
    # Padding holds arbitrary log-probs; a ratio of them may overflow, and inf * 0 would be NaN.
    difference = (logps - old_logps).masked_fill(~mask, 0.0)
    if level == "sequence":
        difference = (difference.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)).expand_as(mask)
    return difference.exp()


def clipped_surrogate(
    ratio: Tensor, advantages: Tensor, mask: Tensor, epsilon: float, epsilon_high: float
) -> tuple[Tensor, Tensor]:
    """PPO's clipped surrogate a token, ``-min(r A, clip(r, 1 - e, 1 + e_high) A)`` (arXiv 1707.06347, equation 7).

    A larger ``epsilon_high`` lets unlikely tokens rise (DAPO's clip-higher, arXiv 2503.14476, equation 10).

    Args:
        ratio: ``(rows, tokens)`` float32, with gradient.
        advantages: ``(rows,)`` float32.
        mask: ``(rows, tokens)`` bool, true on completion tokens.
        epsilon: Width of the trust region below 1.
        epsilon_high: Width above 1.

    Returns:
        The loss a token ``(rows, tokens)``, and where clipping took the gradient away ``(rows, tokens)`` bool.
    """
    advantage = advantages.unsqueeze(1)
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon_high)
    loss = -(ratio * advantage).minimum(clipped * advantage)
    beyond = ((ratio > 1 + epsilon_high) & (advantage > 0)) | ((ratio < 1 - epsilon) & (advantage < 0))
    return loss, beyond & mask


def truncated_importance(
    ratio: Tensor, logps: Tensor, advantages: Tensor, mask: Tensor, ceiling: float
) -> tuple[Tensor, Tensor]:
    """CISPO's loss a token, ``-sg(min(r, ceiling)) A log p``: no token loses its gradient (arXiv 2506.13585, eq. 4).

    Args:
        ratio: ``(rows, tokens)`` float32.
        logps: ``(rows, tokens)`` float32, with gradient.
        advantages: ``(rows,)`` float32.
        mask: ``(rows, tokens)`` bool, true on completion tokens.
        ceiling: Largest weight; the paper's ``1 + epsilon_high``.

    Returns:
        The loss a token ``(rows, tokens)``, and where the weight was cut ``(rows, tokens)`` bool.
    """
    advantage = advantages.unsqueeze(1)
    loss = -ratio.detach().clamp(max=ceiling) * advantage * logps.masked_fill(~mask, 0.0)
    return loss, (ratio > ceiling) & (advantage > 0) & mask


def token_sum(per_token: Tensor, mask: Tensor) -> Tensor:
    """Sum over all completion tokens: every token weighs the same.

    Divide by the tokens of the step over all ranks for DAPO (arXiv 2503.14476, equation 8), by those of the rank for
    BNPO, by rows times the longest completion allowed for Dr. GRPO (arXiv 2503.20783, section 3.2).

    Args:
        per_token: ``(rows, tokens)`` float32.
        mask: ``(rows, tokens)`` bool.

    Returns:
        Scalar.
    """
    return per_token.masked_fill(~mask, 0.0).sum()


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
