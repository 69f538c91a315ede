"""Language consistency: the share of texts wholly in the target language."""

from __future__ import annotations

from importlib.metadata import version

import torch
from torch import Tensor

from semalign_pl.languages import Language, get_language
from semalign_pl.metrics.base import RowMetric


class LanguageConsistency(RowMetric):
    """Share of predictions that are wholly in the language by Unicode rules, 0 to 1 (the paper's ``R_lang``).

    Attributes:
        language: Language whose ``is_consistent`` is the rule.
    """

    formula = "mean"

    def __init__(self, language: str | Language) -> None:
        """Create the metric for a language or its code."""
        super().__init__()
        self.language = get_language(language)

    def in_language(self, language: Language) -> RowMetric:
        """The same metric by the rules of another language."""
        return type(self)(language)

    def rows(self, predictions: list[str], references: list[str]) -> Tensor:
        """Consistency (1 or 0) of each prediction, ``(texts, 1)`` float64; references are not used."""
        consistent = [self.language.is_consistent(prediction) for prediction in predictions]
        return torch.tensor(consistent, dtype=torch.float64).unsqueeze(1)

    @property
    def signature(self) -> str:
        """Rule, scripts, and the version of ``regex``, whose Unicode tables it uses."""
        scripts = "+".join(self.language.scripts)
        rule = (
            f"consistency:script_extensions|scripts:{scripts}|lang:{self.language.code}|{self.language.rule_signature}"
        )
        return f"{rule}|regex:{version('regex')}"


class ReferenceConsistency(LanguageConsistency):
    """Share of references that are wholly in the language: what human writers reach, and so the practical ceiling.

    Rows without a reference are left out; NaN if no row has one. There is no interval if references are so few that a
    resample may have none.
    """

    formula = "ratio"

    def rows(self, predictions: list[str], references: list[str]) -> Tensor:
        """Consistency of the reference and whether there is one (1 or 0), ``(texts, 2)`` float64."""
        given = [bool(reference.strip()) for reference in references]
        consistent = [self.language.is_consistent(reference) for reference in references]
        return torch.tensor([consistent, given], dtype=torch.float64).T

    @property
    def signature(self) -> str:
        """Signature of the rule, applied to references."""
        return f"{super().signature}|texts:references"
