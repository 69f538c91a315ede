"""Wrong answers for a batch of pairs: its own other texts, and hard negatives of the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from semalign_pl.types import Example

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def distinct(batch: Sequence[Example]) -> list[Example]:
    """Pairs that repeat no text of an earlier pair: two that share a text would count as wrong answers to each other.

    Args:
        batch: Pairs; of those that share a text, the first is kept.

    Returns:
        Pairs that are kept, in the same order.
    """
    sources: set[str] = set()
    references: set[str] = set()
    kept = []
    for example in batch:
        if example.source not in sources and example.reference not in references:
            sources.add(example.source)
            references.add(example.reference)
            kept.append(example)
    return kept


class HardNegatives:
    """Hard negatives: references of other sources whose embeddings are nearest to that of a source.

    Args:
        pairs: Training pairs.
        count: Number of hard negatives per source.
        margin: Margin as a share of the true pair's cosine. A text within the margin is not used, because it may be
            right too: 0.05 is "TopK-PercPos 95 %" of NV-Retriever (arXiv 2407.15831).

    Attributes:
        references: Distinct references of the corpus.
        own: References of each source.
        nearest: Indices into ``references`` of at most ``count`` hard negatives per distinct source, in the order of
            the corpus, the hardest first; plain numbers, for the checkpoint.
    """

    def __init__(self, pairs: Sequence[Example], count: int, margin: float) -> None:
        """Index the corpus, without mining."""
        self.pairs, self.count, self.margin = pairs, count, margin
        self.references = list(dict.fromkeys(example.reference for example in pairs))
        self.own: dict[str, set[str]] = {}
        for example in pairs:
            self.own.setdefault(example.source, set()).add(example.reference)
        self._row = {source: row for row, source in enumerate(self.own)}
        self.nearest: list[list[int]] = [[] for _ in self.own]

    def mine(self, encoder: SentenceTransformer, batch_size: int) -> None:
        """Embed the corpus with the current weights and find each source's nearest wrong references.

        Args:
            encoder: Encoder under training; its train or eval mode is restored.
            batch_size: Number of texts that are embedded at once.
        """
        from datasets import Dataset
        from sentence_transformers.util import mine_hard_negatives

        training = encoder.training
        mined = mine_hard_negatives(
            Dataset.from_dict(
                {"source": [e.source for e in self.pairs], "reference": [e.reference for e in self.pairs]}
            ),
            encoder,
            num_negatives=self.count,
            relative_margin=self.margin,
            output_format="triplet",  # one row per negative, so that a source with too few keeps those
            batch_size=batch_size,
            faiss_batch_size=1024,  # sources compared with all references at once; nothing of FAISS is used
            verbose=False,
        )
        encoder.train(training)
        place = {reference: i for i, reference in enumerate(self.references)}
        self.nearest = [[] for _ in self.own]
        for source, negative in zip(mined["source"], mined["negative"], strict=True):
            indices = self.nearest[self._row[source]]
            if place[negative] not in indices:  # a source with two references is mined twice
                indices.append(place[negative])

    def of(self, batch: Sequence[Example]) -> list[str]:
        """Hard negatives of a batch: each text once, and none that is a reference of a source of the batch.

        Args:
            batch: Training pairs.

        Returns:
            Texts of the hard negatives.
        """
        right = set().union(*(self.own[example.source] for example in batch))
        places = (place for example in batch for place in self.nearest[self._row[example.source]])
        return [text for text in dict.fromkeys(self.references[place] for place in places) if text not in right]
