"""Semantic similarity by a frozen sentence encoder."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from semalign_pl.encoder import SentenceEncoder
from semalign_pl.metrics.base import RowMetric


class SemanticSimilarity(RowMetric):
    """Mean cosine of prediction and reference under a frozen sentence encoder, -1 to 1; an empty text counts 0.

    An encoder given by name is loaded when first needed and follows the metric's device; one given loaded stays where
    its owner puts it. Neither is in a ``state_dict``.

    Attributes:
        batch_size: Texts encoded at once.
    """

    def __init__(self, encoder: str | Path | SentenceEncoder, batch_size: int = 64) -> None:
        """Keep the encoder for later.

        Args:
            encoder: Folder or hub name of a SentenceTransformer; or one already loaded, to share it with a reward.
            batch_size: Texts encoded at once, by an encoder loaded here.
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
        """``(texts, 1)`` float64: the cosine."""
        encoder = self.encoder.to(self.device) if self._own else self.encoder
        return encoder.similarity(predictions, references).double().unsqueeze(1)

    def from_total(self, total: Tensor, n: int) -> float:
        """The mean."""
        return total.item() / n

    @property
    def signature(self) -> str:
        """The encoder's own signature."""
        return f"similarity:cosine|{self.encoder.signature}"
