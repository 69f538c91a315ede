"""The share of texts wholly in the target language."""

from __future__ import annotations

from importlib.metadata import version

import torch
from torch import Tensor

from semalign_pl.languages import LanguageProfile, get_language
from semalign_pl.metrics.base import RowMetric


class LanguageConsistency(RowMetric):
    """Share of predictions that are wholly in the language by Unicode rules, 0 to 1 (the paper's ``R_lang``).

    Attributes:
        language: The profile whose ``is_consistent`` decides.
    """

    def __init__(self, language: str | LanguageProfile) -> None:
        """Take a language code or profile."""
        super().__init__()
        self.language = get_language(language)

    def rows(self, predictions: list[str], references: list[str]) -> Tensor:
        """``(texts, 1)`` float64: 1 or 0; references do not matter."""
        consistent = [self.language.is_consistent(prediction) for prediction in predictions]
        return torch.tensor(consistent, dtype=torch.float64).unsqueeze(1)

    def from_total(self, total: Tensor, n: int) -> float:
        """The share."""
        return total.item() / n

    @property
    def signature(self) -> str:
        """The rule, the scripts, and the ``regex`` version that brings the Unicode tables."""
        scripts = "+".join(self.language.scripts)
        return f"consistency:script_extensions|scripts:{scripts}|lang:{self.language.code}|regex:{version('regex')}"
