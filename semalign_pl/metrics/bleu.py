"""BLEU on the units of a language."""

from __future__ import annotations

import torch
from torch import Tensor

from semalign_pl.functional.formulas import value
from semalign_pl.languages import Language, get_language
from semalign_pl.metrics.base import RowMetric


class Bleu4(RowMetric):
    """Corpus BLEU-4 by sacrebleu (Papineni et al., 2002; Post, 2018), 0 to 100, on the language's units.

    ``per_row`` is sentence BLEU with effective order, as sacrebleu recommends for single sentences.

    Attributes:
        language: Language that segments text into units.
    """

    formula = "bleu"

    def __init__(self, language: str | Language) -> None:
        """Create the metric for a language or its code."""
        from sacrebleu.metrics.bleu import BLEU

        super().__init__()
        self.language = get_language(language)
        self._bleu = BLEU(tokenize="none", force=True)
        self._sentence_bleu = BLEU(tokenize="none", force=True, effective_order=True)

    def in_language(self, language: Language) -> RowMetric:
        """The same metric by the rules of another language."""
        return type(self)(language)

    def rows(self, predictions: list[str], references: list[str]) -> Tensor:
        """Unit counts of both texts, then matching and all 1- to 4-grams of the prediction: ``(texts, 10)`` float64."""
        scores = [
            self._sentence_bleu.sentence_score(self._cut(prediction), [self._cut(reference)])
            for prediction, reference in zip(predictions, references, strict=True)
        ]
        rows = [[score.sys_len, score.ref_len, *score.counts, *score.totals] for score in scores]
        return torch.tensor(rows, dtype=torch.float64).view(-1, 10)

    def from_row(self, row: Tensor) -> float:
        """Sentence BLEU, with effective order."""
        return float(value("sentence_bleu", row.numpy(), 1))

    @property
    def signature(self) -> str:
        """Signature of sacrebleu, with the segmentation."""
        self._bleu.num_refs = 1
        return f"{self._bleu.get_signature()}|seg:{self.language.unit}|lang:{self.language.code}"

    def _cut(self, text: str) -> str:
        return " ".join(self.language.segment(text))
