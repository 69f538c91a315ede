"""Reward for surface overlap with the reference, for the papers' ablations."""

from __future__ import annotations

from typing import Literal

from semalign_pl.languages import Language, get_language
from semalign_pl.metrics import Bleu4, ChrF, RougeL
from semalign_pl.rewards.task_language import TaskLanguageReward

_METRICS = {"bleu4": Bleu4, "chrf": ChrF, "rouge_l": RougeL}


class OverlapReward(TaskLanguageReward):
    """Sentence BLEU-4, chrF++ or ROUGE-L against the reference, in [0, 1].

    Args:
        metric: Name of the metric: bleu4, chrf or rouge_l.
        language: Code of the language, which defines the units of text; in a mix, of the rows whose task names none.
        weight: Factor in the total reward.
    """

    def __init__(
        self, metric: Literal["bleu4", "chrf", "rouge_l"] = "bleu4", language: str = "bo", weight: float = 1.0
    ) -> None:
        super().__init__(get_language(language), weight)
        self.metric = metric
        self._scorer = _METRICS[metric](self.language)

    def in_language(self, language: Language) -> OverlapReward:
        """Reward on the units of another language."""
        other = super().in_language(language)
        other._scorer = _METRICS[self.metric](language)
        return other

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
