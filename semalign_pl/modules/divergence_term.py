"""Divergence from a target distribution as a term of the loss."""

from __future__ import annotations

from dataclasses import dataclass

from semalign_pl.engine.logprobs import CompletionLogprobs
from semalign_pl.functional.losses import LossOutputs, token_sum
from semalign_pl.modules.loss_terms import LossTerm


@dataclass(frozen=True, kw_only=True)
class DivergenceTerm(LossTerm):
    """Divergence of the policy from the targets of the completions, summed over their tokens.

    Each completion needs a ``Target``, which says what the target is and which divergence is meant. The denominator is
    the number of tokens on all ranks, as for SFT's loss. The gradient is exact for given completions; for samples of
    the policy, the gradient of the sampling itself is left out (GKD, arXiv 2306.13649, equation 4).
    """

    def __post_init__(self) -> None:
        """Refuse completions without a target."""
        targets = self.completions.targets or [None] * len(self.completions)
        assert None not in targets, f"{self.name}: a completion without a target diverges from nothing"

    def __call__(self, logprobs: CompletionLogprobs) -> LossOutputs:
        """Sum the divergence over the chunk's tokens, in nats."""
        return LossOutputs(token_sum(logprobs.divergence, logprobs.mask))
