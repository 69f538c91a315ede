"""GRPO's family of objectives: a ratio, a surrogate and a denominator, each chosen by the name TRL gives it."""

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
    """What one update minimises.

    Attributes:
        loss_type: ``grpo``: mean over tokens, then rows (arXiv 2402.03300). ``bnpo``: mean over the tokens of this
            rank. ``dapo``: mean over the tokens of all ranks (arXiv 2503.14476). ``dr_grpo``: over a constant number
            of tokens a row (arXiv 2503.20783). ``cispo``: as dapo, with cut weights instead of clipping
            (arXiv 2506.13585).
        level: Importance ratio a ``token`` or a ``sequence`` (GSPO, arXiv 2507.18071).
        epsilon: Width of the trust region below 1.
        epsilon_high: Width above 1; for cispo the largest weight itself, as in TRL.
        beta: Weight of the KL to the reference.
    """

    loss_type: LossType = "grpo"
    level: Level = "token"
    epsilon: float = 0.2
    epsilon_high: float = 0.2
    beta: float = 0.04

    def __call__(
        self, logps: Tensor, old_logps: Tensor, reference_logps: Tensor | None, advantages: Tensor, mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The loss of some rows, to be divided by ``denominator``.

        Args:
            logps: ``(rows, tokens)`` float32, with gradient.
            old_logps: ``(rows, tokens)`` float32: the policy's own, before this batch's first update.
            reference_logps: ``(rows, tokens)`` float32; ``None`` leaves the KL out.
            advantages: ``(rows,)`` float32.
            mask: ``(rows, tokens)`` bool, true on completion tokens.

        Returns:
            The loss, scalar; the KL a token and where clipping acted, each ``(rows, tokens)``.
        """
        ratio = importance_ratio(logps, old_logps, mask, self.level)
        if self.loss_type == "cispo":
            loss, clipped = truncated_importance(ratio, logps, advantages, mask, self.epsilon_high)
        else:
            loss, clipped = clipped_surrogate(ratio, advantages, mask, self.epsilon, self.epsilon_high)
        kl = torch.zeros_like(logps)
        if reference_logps is not None:
            kl = kl_k3(logps.masked_fill(~mask, 0.0), reference_logps.masked_fill(~mask, 0.0))
            loss = loss + self.beta * kl
        reduce = mean_over_tokens_sum if self.loss_type == "grpo" else token_sum
        return reduce(loss, mask), kl, clipped

    def denominator(self, rows: float, tokens: float, tokens_here: float, ranks: int, longest: int) -> float:
        """What the losses of all parts of all ranks are divided by, once.

        Args:
            rows: Completions that count, over all ranks.
            tokens: Their tokens, over all ranks.
            tokens_here: Those of this rank.
            ranks: How many there are.
            longest: Tokens a completion may have.
        """
        by_type = {"grpo": rows, "bnpo": tokens_here * ranks, "dr_grpo": rows * longest}
        return max(1.0, by_type.get(self.loss_type, tokens))
