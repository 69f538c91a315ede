"""Policy objectives: an importance ratio, a surrogate loss and a denominator, each selected by TRL's name."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from semalign_pl.functional.losses import (
    Level,
    LossInputs,
    LossOutputs,
    LossType,
    clipped_surrogate,
    importance_ratio,
    kl_k3,
    mean_over_tokens_sum,
    token_sum,
    truncated_importance,
)


@dataclass(frozen=True)
class Objective:
    """Policy objective of one update: clipped surrogate loss plus KL to the reference.

    Attributes:
        loss_type: ``grpo``: mean over tokens, then over completions (arXiv 2402.03300). ``bnpo``: mean over the tokens
            of this rank. ``dapo``: mean over the tokens of all ranks (arXiv 2503.14476). ``dr_grpo``: divided by a
            constant number of tokens per completion (arXiv 2503.20783). ``cispo``: as dapo, with clipped weights
            instead of a clipped surrogate (arXiv 2506.13585).
        level: Importance ratio per ``token`` or per ``sequence`` (GSPO, arXiv 2507.18071).
        epsilon: Width of the trust region below 1.
        epsilon_high: Width of the trust region above 1; for cispo the largest weight itself, as in TRL.
        beta: Weight of the KL to the reference.
    """

    loss_type: LossType = "grpo"
    level: Level = "token"
    epsilon: float = 0.2
    epsilon_high: float = 0.2
    beta: float = 0.04

    def __call__(self, inputs: LossInputs) -> LossOutputs:
        """Summed loss of a chunk, to be divided by ``denominator``; logs ``kl``, ``entropy`` and ``clip_share``.

        Args:
            inputs: Log-probs, advantages and mask of the chunk's completions.
        """
        logps, mask = inputs.logps, inputs.completion_mask
        # 1. Ratio: corrects for how far the policy has moved from the one that sampled. On-policy it is exactly 1.
        ratio = importance_ratio(logps, inputs.old_logps, mask, self.level)
        # 2. Surrogate: its gradient is the policy gradient, and ends where the ratio leaves the trust region.
        if self.loss_type == "cispo":
            per_token_loss, clipped = truncated_importance(ratio, logps, inputs.advantages, mask, self.epsilon_high)
        else:
            per_token_loss, clipped = clipped_surrogate(ratio, inputs.advantages, mask, self.epsilon, self.epsilon_high)
        # Weights for samples of another distribution are factors on the surrogate, and not on the KL, as in TRL.
        if inputs.weights is not None:
            per_token_loss = per_token_loss * inputs.weights
        # 3. KL: holds the policy near the reference. Log-probs in padding are arbitrary, so both are set equal there.
        per_token_kl = torch.zeros_like(logps)
        if inputs.ref_logps is not None:
            per_token_kl = kl_k3(logps.masked_fill(~mask, 0.0), inputs.ref_logps.masked_fill(~mask, 0.0))
            per_token_loss = per_token_loss + self.beta * per_token_kl
        # 4. Sum: a mean over the chunk would depend on how the step was split into chunks.
        reduce = mean_over_tokens_sum if self.loss_type == "grpo" else token_sum
        logged = {"kl": per_token_kl, "entropy": inputs.entropy, "clip_share": clipped}
        token_sums = {name: (value.detach() * mask).sum() for name, value in logged.items()}
        return LossOutputs(reduce(per_token_loss, mask), token_sums)

    def denominator(
        self, completions: float, tokens: float, tokens_here: float, ranks: int, max_new_tokens: int
    ) -> float:
        """Denominator of the losses of all chunks on all ranks.

        Args:
            completions: Number of completions in the loss, on all ranks.
            tokens: Number of their tokens, on all ranks.
            tokens_here: Number of their tokens on this rank.
            ranks: Number of ranks.
            max_new_tokens: Maximum number of tokens per completion.
        """
        by_type = {"grpo": completions, "bnpo": tokens_here * ranks, "dr_grpo": completions * max_new_tokens}
        return max(1.0, by_type.get(self.loss_type, tokens))
