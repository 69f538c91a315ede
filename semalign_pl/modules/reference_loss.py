"""Per-token loss of reference texts, summed over batches and ranks and divided once."""

from __future__ import annotations

from typing import Any

import torch

from semalign_pl.policy.batching import Completions
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.score import compute_logprobs


class ReferenceLoss:
    """Mean negative log-likelihood per reference token of a corpus: SFT's loss, without gradient or dropout.

    Batches of unequal size weigh by their tokens, so that the value depends neither on the batch size nor on the number
    of ranks.
    """

    def __init__(self) -> None:
        self._nats = self._tokens = self._left_out = 0.0

    def update(self, policy: Policy, rows: Completions, left_out: int, budget: int) -> None:
        """Add a batch.

        Args:
            policy: Policy under training.
            rows: References after their prompts.
            left_out: References that were too long.
            budget: Tokens forwarded at once.
        """
        self._nats -= float(compute_logprobs(policy, rows, budget).double().sum())  # padding is 0
        self._tokens += rows.tokens
        self._left_out += left_out

    def compute(self, trainer: Any) -> dict[str, float]:
        """Loss in nats per token, and the number of rows left out, over all ranks; empty if there was no reference.

        Args:
            trainer: Trainer with the ranks.
        """
        sums = torch.tensor([self._nats, self._tokens, self._left_out], dtype=torch.float64)
        if trainer.world_size > 1:
            sums = trainer.strategy.reduce(sums.to(trainer.strategy.root_device), reduce_op="sum")
        nats, tokens, left_out = sums.tolist()
        return {"loss": nats / tokens, "rows_too_long": left_out} if tokens else {}
