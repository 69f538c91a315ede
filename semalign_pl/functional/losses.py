"""Losses as pure functions. Each returns a *sum*; the caller divides once by the denominator of the whole step.

Because of this, one batch of eight and eight micro-batches of one give the same gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from jaxtyping import Bool, Float
from torch import Tensor

LossType = Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo"]
Level = Literal["token", "sequence"]


@dataclass(frozen=True)
class LossInputs:
    """Log-probs and advantages of one chunk of completions, float32, in nats; values in padding are ignored.

    Attributes:
        logps: Log-probs of the policy, with gradient.
        old_logps: Log-probs of the policy before the first update of this batch.
        ref_logps: Log-probs of the reference; ``None`` leaves the KL out.
        advantages: Advantage per completion.
        completion_mask: Mask of the tokens in the loss.
        entropy: Entropy of the policy, without gradient; only logged.
        weights: Factor on the surrogate loss per token, without gradient; ``None`` for 1.
    """

    logps: Float[Tensor, "completions tokens"]
    old_logps: Float[Tensor, "completions tokens"]
    ref_logps: Float[Tensor, "completions tokens"] | None
    advantages: Float[Tensor, " completions"]
    completion_mask: Bool[Tensor, "completions tokens"]
    entropy: Float[Tensor, "completions tokens"]
    weights: Float[Tensor, "completions tokens"] | None = None


@dataclass(frozen=True)
class LossOutputs:
    """Loss of one chunk, and values to log.

    Attributes:
        loss: Loss summed over the chunk, with gradient; divided later by the denominator of the whole step.
        token_sums: Sums over the chunk's completion tokens of per-token values, by log name; logged as means per token.
    """

    loss: Float[Tensor, ""]
    token_sums: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)


class PerTokenLoss(NamedTuple):
    """Loss per token, before the sum.

    Attributes:
        loss: Loss per token.
        clipped: Mask of the completion tokens whose ratio was clipped.
    """

    loss: Float[Tensor, "completions tokens"]
    clipped: Bool[Tensor, "completions tokens"]


def nll_sum(
    logps: Float[Tensor, "completions tokens"], completion_mask: Bool[Tensor, "completions tokens"]
) -> Float[Tensor, ""]:
    """Sum of the NLL of completion tokens.

    Args:
        logps: Log-probs, in nats.
        completion_mask: Mask of the tokens in the loss.

    Returns:
        NLL in nats. Divide by the step's number of completion tokens for the SFT loss.
    """
    return -logps.masked_fill(~completion_mask, 0.0).sum()


def kl_k3(
    logps: Float[Tensor, "completions tokens"], ref_logps: Float[Tensor, "completions tokens"]
) -> Float[Tensor, "completions tokens"]:
    """Per-token KL(policy || reference) by Schulman's k3 estimator: ``exp(d) - d - 1`` with ``d = ref_logps - logps``.

    Unbiased for samples of the policy and never negative (http://joschu.net/blog/kl-approx.html). TRL 1.16 multiplies
    it by the importance ratio by default (``use_bias_correction_kl``); this is the plain estimator of DeepSeekMath,
    arXiv 2402.03300, equation 4.

    Args:
        logps: Log-probs of the policy, with gradient.
        ref_logps: Log-probs of the reference, without gradient.

    Returns:
        KL per token, in nats.
    """
    difference = ref_logps - logps
    return difference.exp() - difference - 1


def importance_ratio(
    logps: Float[Tensor, "completions tokens"],
    old_logps: Float[Tensor, "completions tokens"],
    completion_mask: Bool[Tensor, "completions tokens"],
    level: Level = "token",
) -> Float[Tensor, "completions tokens"]:
    """Importance ratio: probability under the policy divided by probability under the old policy.

    Args:
        logps: Log-probs of the policy, with gradient.
        old_logps: Log-probs of the policy before the first update of this batch.
        completion_mask: Mask of the tokens in the loss.
        level: ``token``: one ratio per token (arXiv 1707.06347). ``sequence``: the geometric mean over a completion's
            tokens, for all of them (GSPO, arXiv 2507.18071, equation 7).

    Returns:
        Ratio per token; 1 in the padding of token ratios.
    """
    # Log-probs in padding are arbitrary: their ratio may overflow, and inf * 0 would be NaN.
    log_ratio = (logps - old_logps).masked_fill(~completion_mask, 0.0)
    if level == "sequence":
        tokens = completion_mask.sum(1, keepdim=True).clamp(min=1)
        log_ratio = (log_ratio.sum(1, keepdim=True) / tokens).expand_as(completion_mask)
    return log_ratio.exp()


def clipped_surrogate(
    ratio: Float[Tensor, "completions tokens"],
    advantages: Float[Tensor, " completions"],
    completion_mask: Bool[Tensor, "completions tokens"],
    epsilon: float,
    epsilon_high: float,
) -> PerTokenLoss:
    """Per-token clipped surrogate loss of PPO, ``-min(r A, clip(r, 1 - e, 1 + e_high) A)`` (arXiv 1707.06347, eq. 7).

    A larger ``epsilon_high`` lets unlikely tokens become more likely (DAPO's clip-higher, arXiv 2503.14476, eq. 10).

    Args:
        ratio: Importance ratio, with gradient.
        advantages: Advantage per completion.
        completion_mask: Mask of the tokens in the loss.
        epsilon: Width of the trust region below 1.
        epsilon_high: Width of the trust region above 1.

    Returns:
        Loss per token; ``clipped`` are the tokens without gradient because of clipping.
    """
    advantage = advantages.unsqueeze(1)
    clipped_ratio = ratio.clamp(1 - epsilon, 1 + epsilon_high)
    loss = -(ratio * advantage).minimum(clipped_ratio * advantage)
    beyond = ((ratio > 1 + epsilon_high) & (advantage > 0)) | ((ratio < 1 - epsilon) & (advantage < 0))
    return PerTokenLoss(loss, beyond & completion_mask)


def truncated_importance(
    ratio: Float[Tensor, "completions tokens"],
    logps: Float[Tensor, "completions tokens"],
    advantages: Float[Tensor, " completions"],
    completion_mask: Bool[Tensor, "completions tokens"],
    ceiling: float,
) -> PerTokenLoss:
    """Per-token loss of CISPO, ``-sg(min(r, ceiling)) A log p``: every token has a gradient (arXiv 2506.13585, eq. 4).

    Args:
        ratio: Importance ratio.
        logps: Log-probs of the policy, with gradient.
        advantages: Advantage per completion.
        completion_mask: Mask of the tokens in the loss.
        ceiling: Largest weight, ``1 + epsilon_high`` in the paper.

    Returns:
        Loss per token; ``clipped`` are the tokens whose weight was cut to the ceiling.
    """
    advantage = advantages.unsqueeze(1)
    loss = -ratio.detach().clamp(max=ceiling) * advantage * logps.masked_fill(~completion_mask, 0.0)
    return PerTokenLoss(loss, (ratio > ceiling) & (advantage > 0) & completion_mask)


def token_sum(
    per_token: Float[Tensor, "completions tokens"], completion_mask: Bool[Tensor, "completions tokens"]
) -> Float[Tensor, ""]:
    """Sum over all completion tokens: every token has the same weight.

    Divide by the step's tokens on all ranks for DAPO (arXiv 2503.14476, equation 8), on this rank for BNPO, and by
    completions times the maximum completion length for Dr. GRPO (arXiv 2503.20783, section 3.2).

    Args:
        per_token: Loss per token.
        completion_mask: Mask of the tokens in the loss.
    """
    return per_token.masked_fill(~completion_mask, 0.0).sum()


def mean_over_tokens_sum(
    per_token: Float[Tensor, "completions tokens"], completion_mask: Bool[Tensor, "completions tokens"]
) -> Float[Tensor, ""]:
    """Sum over completions of the mean over their tokens; divide by the step's completions for GRPO's objective.

    DeepSeekMath, arXiv 2402.03300, equation 3: every completion has the same weight, whatever its length. An empty
    completion adds 0.

    Args:
        per_token: Loss per token.
        completion_mask: Mask of the tokens in the loss.
    """
    return (per_token.masked_fill(~completion_mask, 0.0).sum(1) / completion_mask.sum(1).clamp(min=1)).sum()
