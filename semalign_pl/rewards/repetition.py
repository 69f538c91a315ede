"""Reward against repetition."""

from __future__ import annotations

import torch
from torch import Tensor

from semalign_pl.functional.penalties import repeated_ngrams, repetition_penalty
from semalign_pl.languages import get_language
from semalign_pl.rewards.task_language import TaskLanguageReward


class RepetitionReward(TaskLanguageReward):
    """``-p_rep``: a penalty for completions with repeated n-grams (SG-SRL, arXiv 2605.29502).

    Args:
        language: Code of the language, which defines the units of text; in a mix, of the rows whose task names none.
        n: Number of units per n-gram.
        threshold: Largest share of repeated n-grams without a penalty.
        weight: Factor in the total reward; 0.05 in the paper.
    """

    best = 0.0

    def __init__(self, language: str = "bo", n: int = 4, threshold: float = 0.15, weight: float = 0.05) -> None:
        super().__init__(get_language(language), weight)
        if n < 1:
            raise ValueError(f"RepetitionReward.n: there are no {n}-grams; give 1 or more")
        self.n, self.threshold = n, threshold

    @property
    def signature(self) -> str:
        """Every option that changes the score."""
        unit = f"unit:{self.language.unit}|lang:{self.language.code}"
        return f"{super().signature}|n:{self.n}|threshold:{self.threshold:g}|{unit}"

    def score(self, *, completions: list[str], **_: list[str]) -> Tensor:
        """Negative penalties, ``(completions,)`` float32 in [-1, 0]."""
        ratios = [repeated_ngrams(self.language.segment(text), self.n) for text in completions]
        return -repetition_penalty(torch.tensor(ratios), self.threshold)
