"""Reward for surface overlap with the reference, for the papers' ablations."""

from __future__ import annotations

from typing import Literal

from semalign_pl.metrics import Bleu4, ChrF, RougeL
from semalign_pl.rewards.base import Reward


class OverlapReward(Reward):
    """Sentence BLEU-4, chrF++ or ROUGE-L against the reference, in [0, 1].

    Args:
        metric: Name of the metric: bleu4, chrf or rouge_l.
        language: Code of the language, which defines the units of text.
        weight: Factor in the total reward.
    """

    def __init__(
        self, metric: Literal["bleu4", "chrf", "rouge_l"] = "bleu4", language: str = "bo", weight: float = 1.0
    ) -> None:
        super().__init__(weight)
        self.metric = metric
        self._scorer = {"bleu4": Bleu4, "chrf": ChrF, "rouge_l": RougeL}[metric](language)

    @property
    def name(self) -> str:
        """Name of the metric."""
        return self.metric

    @property
    def signature(self) -> str:
        """Every option that changes the score."""
        return f"{super().signature}|{self._scorer.signature}"

    def score(self, *, completions: list[str], references: list[str], **_: list[str]) -> list[float]:
        """Score from 0 to 1 per completion; NaN (not scored) if the reference is blank."""
        scale = 1.0 if self.metric == "rouge_l" else 100.0
        scores = self._scorer.per_row(completions, references)
        return [
            score / scale if reference.strip() else float("nan")
            for score, reference in zip(scores, references, strict=True)
        ]
