"""What may count as a wrong answer in a batch of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from semalign_pl.types import Example

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def distinct(batch: Sequence[Example]) -> list[Example]:
    """The batch without pairs that repeat a text of an earlier one: each would count as a wrong answer to the other.

    Args:
        batch: Pairs; their order is kept.
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
    """References that an encoder takes for a source's own though they are another's.

    Attributes:
        found: For each distinct source of the corpus, in its order, places in ``references`` of at most ``count`` hard
            negatives, the hardest first; plain numbers, for the checkpoint.
    """

    def __init__(self, pairs: Sequence[Example], count: int, margin: float) -> None:
        """Know the corpus; nothing is mined yet.

        Args:
            pairs: The training pairs.
            count: Hard negatives a source.
            margin: A text is none if its cosine is within this share of the true pair's, for it may be right as well:
                0.05 is "TopK-PercPos 95 %" of NV-Retriever (arXiv 2407.15831).
        """
        self.pairs, self.count, self.margin = pairs, count, margin
        self.references = list(dict.fromkeys(example.reference for example in pairs))
        self.own: dict[str, set[str]] = {}
        for example in pairs:
            self.own.setdefault(example.source, set()).add(example.reference)
        self._row = {source: row for row, source in enumerate(self.own)}
        self.found: list[list[int]] = [[] for _ in self.own]

    def mine(self, encoder: SentenceTransformer, batch_size: int) -> None:
        """Embed the corpus as it is seen now and look for each source's nearest wrong references.

        Args:
            encoder: Left in the mode that it was in.
            batch_size: Texts embedded at once.
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
            output_format="triplet",  # a row a negative, so that a source with too few keeps those
            batch_size=batch_size,
            faiss_batch_size=1024,  # sources compared with all references at once; nothing of FAISS is used
            verbose=False,
        )
        encoder.train(training)
        place = {reference: i for i, reference in enumerate(self.references)}
        self.found = [[] for _ in self.own]
        for source, negative in zip(mined["source"], mined["negative"], strict=True):
            here = self.found[self._row[source]]
            if place[negative] not in here:  # a source with two references comes up twice
                here.append(place[negative])

    def of(self, batch: Sequence[Example]) -> list[str]:
        """Hard negatives of a batch: each text once, and none that is right for any source of the batch.

        Args:
            batch: Training pairs.
        """
        right = set().union(*(self.own[example.source] for example in batch))
        places = (place for example in batch for place in self.found[self._row[example.source]])
        return [text for text in dict.fromkeys(self.references[place] for place in places) if text not in right]
