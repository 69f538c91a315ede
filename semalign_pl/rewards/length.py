"""Reward against verbosity."""

from __future__ import annotations

import torch
from torch import Tensor

from semalign_pl.functional.penalties import length_penalty
from semalign_pl.rewards.base import Reward


class LengthReward(Reward):
    """``-p_len``: a penalty for completions much longer than their batch's median, in characters (SG-SRL).

    Without it, the completions of the paper's policy grew from 162 to 866 characters per translation.

    Args:
        start: Length at which the penalty begins, in medians.
        end: Length at which the penalty is full, in medians.
        weight: Factor in the total reward; 0.20 in the paper.
    """

    best = 0.0

    def __init__(self, start: float = 2.5, end: float = 5.0, weight: float = 0.2) -> None:
        super().__init__(weight)
        length_penalty(torch.ones(1), start, end)  # raises ValueError unless 0 < start < end
        self.start, self.end = start, end

    @property
    def signature(self) -> str:
        """Every option that changes the score."""
        return f"{super().signature}|start:{self.start:g}|end:{self.end:g}|unit:character"

    def score(self, *, completions: list[str], **_: list[str]) -> Tensor:
        """Negative penalties, ``(completions,)`` float32 in [-1, 0]."""
        return -length_penalty(torch.tensor([len(text) for text in completions]), self.start, self.end)
