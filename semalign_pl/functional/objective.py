"""GRPO's objectives: an importance ratio, a surrogate loss and a denominator, each selected by TRL's name."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from semalign_pl.functional.losses import (
    Level,
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
        loss_type: ``grpo``: mean over tokens, then over rows (arXiv 2402.03300). ``bnpo``: mean over the tokens of this
            rank. ``dapo``: mean over the tokens of all ranks (arXiv 2503.14476). ``dr_grpo``: divided by a constant
            number of tokens per row (arXiv 2503.20783). ``cispo``: as dapo, with clipped weights instead of a clipped
            surrogate (arXiv 2506.13585).
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

    def __call__(
        self, logps: Tensor, old_logps: Tensor, ref_logps: Tensor | None, advantages: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Summed loss of some rows, to be divided by ``denominator``.

        Args:
            logps: Log-probs of the policy, ``(rows, tokens)`` float32, with gradient.
            old_logps: Log-probs of the policy before the first update of this batch, ``(rows, tokens)`` float32.
            ref_logps: Log-probs of the reference, ``(rows, tokens)`` float32; ``None`` leaves the KL out.
            advantages: Advantage per row, ``(rows,)`` float32.
            mask: Completion mask, ``(rows, tokens)`` bool.

        Returns:
            Loss (scalar), per-token KL ``(rows, tokens)``, and a mask of clipped tokens ``(rows, tokens)``.
        """
        ratio = importance_ratio(logps, old_logps, mask, self.level)
        if self.loss_type == "cispo":
            loss, clipped = truncated_importance(ratio, logps, advantages, mask, self.epsilon_high)
        else:
            loss, clipped = clipped_surrogate(ratio, advantages, mask, self.epsilon, self.epsilon_high)
        kl = torch.zeros_like(logps)
        if ref_logps is not None:
            kl = kl_k3(logps.masked_fill(~mask, 0.0), ref_logps.masked_fill(~mask, 0.0))
            loss = loss + self.beta * kl
        reduce = mean_over_tokens_sum if self.loss_type == "grpo" else token_sum
        return reduce(loss, mask), kl, clipped

    def denominator(self, rows: float, tokens: float, tokens_here: float, ranks: int, longest: int) -> float:
        """Denominator of the losses of all micro-batches on all ranks.

        Args:
            rows: Number of completions in the loss, on all ranks.
            tokens: Number of their tokens, on all ranks.
            tokens_here: Number of their tokens on this rank.
            ranks: Number of ranks.
            longest: Maximum number of tokens per completion.
        """
        by_type = {"grpo": rows, "bnpo": tokens_here * ranks, "dr_grpo": rows * longest}
        return max(1.0, by_type.get(self.loss_type, tokens))
