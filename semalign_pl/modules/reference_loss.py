"""Per-token loss of reference texts: summed over batches and ranks, and divided once."""

from __future__ import annotations

from typing import Any

import torch

from semalign_pl.engine.logprobs import compute_logprobs
from semalign_pl.engine.micro_batches import Completions
from semalign_pl.policy.policy import Policy


class ReferenceLoss:
    """Mean negative log-likelihood per reference token of a corpus: SFT's loss, without gradient or dropout.

    Every token has the same weight, so the value depends neither on the batch size nor on the number of ranks.
    """

    def __init__(self) -> None:
        self._nats = self._tokens = self._left_out = 0.0

    def update(self, policy: Policy, rows: Completions, left_out: int, budget: int) -> None:
        """Add a batch.

        Args:
            policy: Policy under training.
            rows: Prompts and their references as completions.
            left_out: Number of references of the batch that were too long.
            budget: Maximum number of tokens per forward.
        """
        self._nats -= float(compute_logprobs(policy, rows, budget).double().sum())  # padding is 0
        self._tokens += rows.tokens
        self._left_out += left_out

    def compute(self, trainer: Any) -> dict[str, float]:
        """Loss in nats per token, and number of rows left out, over all ranks, by log name; empty without references.

        Args:
            trainer: Trainer of the run, to sum over ranks.
        """
        sums = torch.tensor([self._nats, self._tokens, self._left_out], dtype=torch.float64)
        if trainer.world_size > 1:
            sums = trainer.strategy.reduce(sums.to(trainer.strategy.root_device), reduce_op="sum")
        nats, tokens, left_out = sums.tolist()
        return {"loss": nats / tokens, "rows_too_long": left_out} if tokens else {}
