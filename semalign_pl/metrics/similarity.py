"""Semantic similarity by a frozen sentence encoder."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from semalign_pl.encoder.sentence_encoder import SentenceEncoder
from semalign_pl.metrics.base import RowMetric


class SemanticSimilarity(RowMetric):
    """Mean cosine of prediction and reference under a frozen sentence encoder, -1 to 1; 0 for an empty text.

    An encoder given by name is loaded when first used and follows the metric's device. A loaded encoder stays on
    its device. Neither is in a ``state_dict``.

    Attributes:
        batch_size: Number of texts encoded at once.
    """

    def __init__(self, encoder: str | Path | SentenceEncoder, batch_size: int = 64) -> None:
        """Create the metric; nothing is loaded yet.

        Args:
            encoder: Folder or hub name of a SentenceTransformer, or a loaded encoder that a reward uses too.
            batch_size: Number of texts encoded at once, for an encoder loaded here.
        """
        super().__init__()
        self.batch_size = batch_size
        self._encoder = encoder
        self._own = not isinstance(encoder, SentenceEncoder)

    @property
    def encoder(self) -> SentenceEncoder:
        """The encoder, loaded.

        Raises:
            ValueError: If there is no SentenceTransformer of that name.
        """
        if not isinstance(self._encoder, SentenceEncoder):
            self._encoder = SentenceEncoder(self._encoder, batch_size=self.batch_size)
        return self._encoder

    def rows(self, predictions: list[str], references: list[str]) -> Tensor:
        """Cosine of each text, ``(texts, 1)`` float64."""
        encoder = self.encoder.to(self.device) if self._own else self.encoder
        return encoder.similarity(predictions, references).double().unsqueeze(1)

    def from_total(self, total: Tensor, n: int) -> float:
        """Mean cosine."""
        return total.item() / n

    @property
    def signature(self) -> str:
        """Signature of the encoder."""
        return f"similarity:cosine|{self.encoder.signature}"
