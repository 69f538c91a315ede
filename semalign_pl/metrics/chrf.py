"""chrF on the characters and units of a language."""

from __future__ import annotations

import torch
from torch import Tensor

from semalign_pl.languages import Language, get_language
from semalign_pl.metrics.base import RowMetric


class ChrF(RowMetric):
    """Corpus chrF++ by sacrebleu (Popović, 2017), 0 to 100; its words are the language's units.

    Separators of units (the tsheg, white space) are not in the character n-grams.

    Attributes:
        language: Language that segments text into units.
        word_order: Order of the longest n-gram of units; 2 is chrF++, 0 is chrF.
    """

    formula = "chrf"

    def __init__(self, language: str | Language, word_order: int = 2) -> None:
        """Create the metric for a language or its code."""
        from sacrebleu.metrics.chrf import CHRF

        super().__init__()
        self.language = get_language(language)
        self.word_order = word_order
        self._chrf = CHRF(word_order=word_order)

    def in_language(self, language: Language) -> RowMetric:
        """The same metric by the rules of another language."""
        return type(self)(language, self.word_order)

    def rows(self, predictions: list[str], references: list[str]) -> Tensor:
        """N-gram counts of prediction, reference and both, for each order: ``(texts, 3 * orders)`` float64."""
        cut = [[" ".join(self.language.segment(text)) for text in texts] for texts in (predictions, references)]
        rows = self._chrf._extract_corpus_statistics(cut[0], [cut[1]])
        return torch.tensor(rows, dtype=torch.float64).view(-1, 3 * self._chrf.order)

    @property
    def signature(self) -> str:
        """Signature of sacrebleu, with the segmentation."""
        self._chrf.num_refs = 1
        return f"{self._chrf.get_signature()}|seg:{self.language.unit}|lang:{self.language.code}"
