"""Losses as pure functions. Each returns a *sum*; the caller divides once by the denominator of the whole step.

Because of this, one batch of eight and eight micro-batches of one give the same gradient.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

LossType = Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo"]
Level = Literal["token", "sequence"]


def nll_sum(logps: Tensor, mask: Tensor) -> Tensor:
    """Sum of the NLL of completion tokens.

    Args:
        logps: Log-probs, ``(rows, tokens)`` float32, in nats.
        mask: Completion mask, ``(rows, tokens)`` bool.

    Returns:
        Scalar, in nats. Divide by the step's number of completion tokens for the SFT loss.
    """
    return -logps.masked_fill(~mask, 0.0).sum()


def kl_k3(logps: Tensor, ref_logps: Tensor) -> Tensor:
    """Per-token KL(policy || reference) by Schulman's k3 estimator: ``exp(d) - d - 1`` with ``d = ref_logps - logps``.

    Unbiased for samples of the policy and never negative (http://joschu.net/blog/kl-approx.html). TRL 1.16 multiplies
    it by the importance ratio by default (``use_bias_correction_kl``); this is the plain estimator of DeepSeekMath,
    arXiv 2402.03300, equation 4.

    Args:
        logps: Log-probs of the policy, ``(rows, tokens)`` float32, with gradient.
        ref_logps: Log-probs of the reference, ``(rows, tokens)`` float32, without gradient.

    Returns:
        ``(rows, tokens)`` float32, in nats.
    """
    difference = ref_logps - logps
    return difference.exp() - difference - 1


def importance_ratio(logps: Tensor, old_logps: Tensor, mask: Tensor, level: Level = "token") -> Tensor:
    """Importance ratio: probability under the policy divided by probability under the old policy.

    Args:
        logps: Log-probs of the policy, ``(rows, tokens)`` float32, with gradient.
        old_logps: Log-probs of the policy before the first update of this batch, ``(rows, tokens)`` float32.
        mask: Completion mask, ``(rows, tokens)`` bool.
        level: ``token``: one ratio per token (arXiv 1707.06347). ``sequence``: the geometric mean over a row's tokens,
            for all of them (GSPO, arXiv 2507.18071, equation 7).

    Returns:
        ``(rows, tokens)`` float32; 1 in the padding of token ratios.
    """
    # Log-probs in padding are arbitrary: their ratio may overflow, and inf * 0 would be NaN.
    difference = (logps - old_logps).masked_fill(~mask, 0.0)
    if level == "sequence":
        difference = (difference.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)).expand_as(mask)
    return difference.exp()


def clipped_surrogate(
    ratio: Tensor, advantages: Tensor, mask: Tensor, epsilon: float, epsilon_high: float
) -> tuple[Tensor, Tensor]:
    """Per-token clipped surrogate loss of PPO, ``-min(r A, clip(r, 1 - e, 1 + e_high) A)`` (arXiv 1707.06347, eq. 7).

    A larger ``epsilon_high`` lets unlikely tokens become more likely (DAPO's clip-higher, arXiv 2503.14476, eq. 10).

    Args:
        ratio: Importance ratio, ``(rows, tokens)`` float32, with gradient.
        advantages: Advantage per row, ``(rows,)`` float32.
        mask: Completion mask, ``(rows, tokens)`` bool.
        epsilon: Width of the trust region below 1.
        epsilon_high: Width of the trust region above 1.

    Returns:
        Per-token loss ``(rows, tokens)``, and a mask of the tokens without gradient because of clipping.
    """
    advantage = advantages.unsqueeze(1)
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon_high)
    loss = -(ratio * advantage).minimum(clipped * advantage)
    beyond = ((ratio > 1 + epsilon_high) & (advantage > 0)) | ((ratio < 1 - epsilon) & (advantage < 0))
    return loss, beyond & mask


def truncated_importance(
    ratio: Tensor, logps: Tensor, advantages: Tensor, mask: Tensor, ceiling: float
) -> tuple[Tensor, Tensor]:
    """Per-token loss of CISPO, ``-sg(min(r, ceiling)) A log p``: every token has a gradient (arXiv 2506.13585, eq. 4).

    Args:
        ratio: Importance ratio, ``(rows, tokens)`` float32.
        logps: Log-probs of the policy, ``(rows, tokens)`` float32, with gradient.
        advantages: Advantage per row, ``(rows,)`` float32.
        mask: Completion mask, ``(rows, tokens)`` bool.
        ceiling: Largest weight, ``1 + epsilon_high`` in the paper.

    Returns:
        Per-token loss ``(rows, tokens)``, and a mask of the tokens whose weight was clipped.
    """
    advantage = advantages.unsqueeze(1)
    loss = -ratio.detach().clamp(max=ceiling) * advantage * logps.masked_fill(~mask, 0.0)
    return loss, (ratio > ceiling) & (advantage > 0) & mask


def token_sum(per_token: Tensor, mask: Tensor) -> Tensor:
    """Sum over all completion tokens: every token has the same weight.

    Divide by the step's tokens on all ranks for DAPO (arXiv 2503.14476, equation 8), on this rank for BNPO, and by
    rows times the maximum completion length for Dr. GRPO (arXiv 2503.20783, section 3.2).

    Args:
        per_token: Per-token loss, ``(rows, tokens)`` float32.
        mask: Completion mask, ``(rows, tokens)`` bool.

    Returns:
        Scalar.
    """
    return per_token.masked_fill(~mask, 0.0).sum()


def mean_over_tokens_sum(per_token: Tensor, mask: Tensor) -> Tensor:
    """Sum over rows of the mean over a row's tokens; divide by the step's rows for GRPO's objective.

    DeepSeekMath, arXiv 2402.03300, equation 3: every completion has the same weight, whatever its length. An empty row
    adds 0.

    Args:
        per_token: Per-token loss, ``(rows, tokens)`` float32.
        mask: Completion mask, ``(rows, tokens)`` bool.

    Returns:
        Scalar.
    """
    return (per_token.masked_fill(~mask, 0.0).sum(1) / mask.sum(1).clamp(min=1)).sum()
