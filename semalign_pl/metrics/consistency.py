"""The share of texts wholly in the target language."""

from __future__ import annotations

import math
from dataclasses import replace
from importlib.metadata import version

import torch
from torch import Tensor

from semalign_pl.languages import LanguageProfile, get_language
from semalign_pl.metrics.base import RowMetric
from semalign_pl.types import Score


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
        rule = f"consistency:script_extensions|scripts:{scripts}|lang:{self.language.code}|rule:2"
        return f"{rule}|regex:{version('regex')}"


class ReferenceConsistency(LanguageConsistency):
    """The same share of the references: what human writers reach under this rule, and so its practical ceiling.

    Rows without a reference are left out; NaN where no row has one.
    """

    def rows(self, predictions: list[str], references: list[str]) -> Tensor:
        """``(texts, 2)`` float64: 1 or 0, and whether there is a reference; predictions do not matter."""
        given = [bool(reference.strip()) for reference in references]
        consistent = [self.language.is_consistent(reference) for reference in references]
        return torch.tensor([consistent, given], dtype=torch.float64).T

    def from_total(self, total: Tensor, n: int) -> float:
        """The share."""
        consistent, given = total.tolist()
        return consistent / given if given else float("nan")

    def score(self, n_bootstrap: int = 1000, seed: int = 12345) -> Score:
        """As of every metric; without an interval where references are so few that resamples have none."""
        score = super().score(n_bootstrap, seed)
        return replace(score, ci=None) if score.ci and not all(map(math.isfinite, score.ci)) else score

    @property
    def signature(self) -> str:
        """The rule's, and that references are judged."""
        return f"{super().signature}|texts:references"
