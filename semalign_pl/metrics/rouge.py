"""ROUGE-L on the units of a language."""

from __future__ import annotations

from importlib.metadata import version

import torch
from torch import Tensor

from semalign_pl.languages import LanguageProfile, get_language
from semalign_pl.metrics.base import RowMetric


class RougeL(RowMetric):
    """Mean ROUGE-L F1 of rouge_score (Lin, 2004), 0 to 1, on the longest common subsequence of units.

    Attributes:
        language: The profile that cuts text into units.
    """

    def __init__(self, language: str | LanguageProfile) -> None:
        """Take a language code or profile."""
        from rouge_score.rouge_scorer import RougeScorer

        super().__init__()
        self.language = get_language(language)
        self._scorer = RougeScorer(["rougeL"], tokenizer=_Units(self.language))

    def rows(self, predictions: list[str], references: list[str]) -> Tensor:
        """``(texts, 1)`` float64: F1; 0 where either text has no unit."""
        scores = [
            self._scorer.score(target=reference, prediction=prediction)["rougeL"].fmeasure
            for prediction, reference in zip(predictions, references, strict=True)
        ]
        return torch.tensor(scores, dtype=torch.float64).unsqueeze(1)

    def from_total(self, total: Tensor, n: int) -> float:
        """The mean."""
        return total.item() / n

    @property
    def signature(self) -> str:
        """Measure, cut and library version."""
        seg = f"seg:{self.language.unit}|lang:{self.language.code}"
        return f"rouge:L|measure:f1|{seg}|rouge_score:{version('rouge_score')}"


class _Units:
    """What rouge_score calls a tokenizer."""

    def __init__(self, language: LanguageProfile) -> None:
        self.language = language

    def tokenize(self, text: str) -> list[str]:
        return self.language.segment(text)
