"""Stages that train on completions which their own policy samples."""

from __future__ import annotations

from typing import TypedDict

from semalign_pl.engine.generate import generate
from semalign_pl.modules.base import AlignModule
from semalign_pl.types import Example, Rollouts


class Sampling(TypedDict, total=False):
    """Settings of sampling, as ``generate`` takes them.

    Attributes:
        temperature: Divisor of the logits.
        top_p: Probability mass of the nucleus that tokens are sampled from; 1 for all tokens.
        top_k: Number of likeliest tokens to sample from; 0 for all.
        min_p: Minimum probability of a sampled token, as a fraction of the likeliest token's.
    """

    temperature: float
    top_p: float
    top_k: int
    min_p: float


class SamplingStage(AlignModule):
    """Stage whose policy samples the completions that it is trained on.

    Attributes:
        sampling: Settings of sampling.
        rollout_rows: Number of rollouts that are decoded at once.
    """

    sampling: Sampling
    rollout_rows: int

    def rollouts(self, batch: list[Example], num_generations: int, seed: int) -> Rollouts:
        """Sample completions with the sampling settings of training.

        Args:
            batch: Examples to complete.
            num_generations: Number of completions per example.
            seed: Seed of the sampling; the global random state is not touched.

        Returns:
            Rollouts, those of one example adjacent.
        """
        return generate(
            self.policy,
            self.encode(batch),
            num_generations=num_generations,
            max_new_tokens=self.max_new_tokens,
            seed=seed,
            rows=self.rollout_rows,
            **self.sampling,
        )
