"""ROUGE-L on the units of a language."""

from __future__ import annotations

from importlib.metadata import version

import torch
from torch import Tensor

from semalign_pl.languages import Language, get_language
from semalign_pl.metrics.base import RowMetric


class RougeL(RowMetric):
    """Mean ROUGE-L F1 by rouge_score (Lin, 2004), 0 to 1, on the longest common subsequence of units.

    Attributes:
        language: Language that segments text into units.
    """

    formula = "mean"

    def __init__(self, language: str | Language) -> None:
        """Create the metric for a language or its code."""
        from rouge_score.rouge_scorer import RougeScorer

        super().__init__()
        self.language = get_language(language)
        self._scorer = RougeScorer(["rougeL"], tokenizer=_Units(self.language))

    def in_language(self, language: Language) -> RowMetric:
        """The same metric by the rules of another language."""
        return type(self)(language)

    def rows(self, predictions: list[str], references: list[str]) -> Tensor:
        """F1 of each text, ``(texts, 1)`` float64; 0 if either text has no unit."""
        scores = [
            self._scorer.score(target=reference, prediction=prediction)["rougeL"].fmeasure
            for prediction, reference in zip(predictions, references, strict=True)
        ]
        return torch.tensor(scores, dtype=torch.float64).unsqueeze(1)

    @property
    def signature(self) -> str:
        """Measure, segmentation and library version."""
        seg = f"seg:{self.language.unit}|lang:{self.language.code}"
        return f"rouge:L|measure:f1|{seg}|rouge_score:{version('rouge_score')}"


class _Units:
    """Tokenizer for rouge_score: the language's segmentation."""

    def __init__(self, language: Language) -> None:
        self.language = language

    def tokenize(self, text: str) -> list[str]:
        return self.language.segment(text)
