"""Generation metrics as torchmetrics classes, each a pure function of rows in a thin shell."""

from __future__ import annotations

from semalign_pl.metrics.base import RowMetric
from semalign_pl.metrics.bleu import Bleu4
from semalign_pl.metrics.chrf import ChrF
from semalign_pl.metrics.consistency import LanguageConsistency, ReferenceConsistency
from semalign_pl.metrics.rouge import RougeL
from semalign_pl.metrics.similarity import SemanticSimilarity

__all__ = ["Bleu4", "ChrF", "LanguageConsistency", "ReferenceConsistency", "RougeL", "RowMetric", "SemanticSimilarity"]
