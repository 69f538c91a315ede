"""Semantic similarity by a frozen sentence encoder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from semalign_pl.encoder.sentence_encoder import SentenceEncoder
from semalign_pl.metrics.base import RowMetric

MAX_REFERENCES = 16384
"""Number of references whose embeddings are kept: 64 MiB at 1,024 dimensions; further ones are encoded each time."""


class SemanticSimilarity(RowMetric):
    """Mean cosine of prediction and reference under a frozen sentence encoder, -1 to 1; 0 for an empty text.

    An encoder given by name is loaded when first used and follows the metric's device. A loaded encoder stays on
    its device. Neither is in a ``state_dict``. References are encoded apart from predictions and only once, however
    many systems are tested on them in one process.

    Attributes:
        batch_size: Number of texts encoded at once.
        texts_cut: Number of texts since the last reset that exceeded the encoder's limit, and lost their end.
    """

    formula = "mean"

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
        self.texts_cut = 0
        self._references: dict[str, tuple[Tensor, bool]] = {}  # embedding, and true if the text was cut

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
        before = encoder.truncated
        vectors = encoder.encode(predictions)
        self.texts_cut += encoder.truncated - before
        cosines = (vectors * self._embed_references(encoder, references)).sum(-1).clamp(-1.0, 1.0)
        return cosines.double().unsqueeze(1)

    def _embed_references(self, encoder: SentenceEncoder, references: list[str]) -> Tensor:
        """Embeddings of references, ``(texts, dimensions)`` float32 on the encoder's device; each is computed once."""
        new = [text for text in dict.fromkeys(references) if text not in self._references]
        cut = encoder.too_long([text for text in new if text.strip()])
        embedded = {text: (vector, text in cut) for text, vector in zip(new, encoder.encode(new).cpu(), strict=True)}
        if len(self._references) + len(new) <= MAX_REFERENCES:
            self._references |= embedded
        rows = [embedded.get(text) or self._references[text] for text in references]
        self.texts_cut += sum(was_cut for _, was_cut in rows)
        vectors = torch.stack([vector for vector, _ in rows]) if rows else torch.zeros(0, encoder.dimensions)
        return vectors.to(encoder.device)

    def reset(self) -> None:
        """Forget all texts, except for the embeddings of references."""
        super().reset()
        self.texts_cut = 0

    @property
    def signature(self) -> str:
        """Signature of the encoder."""
        return f"similarity:cosine|{self.encoder.signature}"
