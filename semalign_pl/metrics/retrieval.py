"""Retrieval of each pair's other side among all pairs of a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from semalign_pl.functional.retrieval import identities, retrieval_scores
from semalign_pl.types import MetricResult


class Retrieval(Metric):
    """Retrieval metrics over all pairs: every pair is a wrong answer to every other, so embeddings are kept to the end.

    With several processes, ``compute`` and ``score`` gather the pairs of all of them.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self) -> None:
        """Start without pairs."""
        super().__init__()
        for name in ("sources", "targets", "source_ids", "target_ids"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(
        self, sources: Sequence[str], targets: Sequence[str], source_vectors: Tensor, target_vectors: Tensor
    ) -> None:
        """Add pairs.

        Args:
            sources: Source texts, one per pair.
            targets: Target texts, one per pair.
            source_vectors: Embeddings of the sources, ``(pairs, dimensions)`` float32, rows of length 1.
            target_vectors: Embeddings of the targets, same shape.
        """
        ids = (identities(texts).to(self.device) for texts in (sources, targets))
        for state, value in zip(self._states(), (source_vectors, target_vectors, *ids), strict=True):
            state.append(value.to(self.device))

    def compute(self) -> dict[str, float]:
        """Value of each metric, by name.

        Raises:
            ValueError: If no two pairs differ.
        """
        return {name: score.value for name, score in self._scores(n_bootstrap=0, seed=0).items()}

    def score(self, n_bootstrap: int = 1000, seed: int = 12345) -> dict[str, MetricResult]:
        """Metrics with 95 % intervals, by name; see ``functional.retrieval.retrieval_scores``.

        Args:
            n_bootstrap: Number of resamples; 0 for no interval.
            seed: Seed of the bootstrap resampling.

        Raises:
            ValueError: If no two pairs differ.
        """
        with self.sync_context(should_sync=self._to_sync, should_unsync=self._should_unsync):
            return self._scores(n_bootstrap, seed)

    def _scores(self, n_bootstrap: int, seed: int) -> dict[str, MetricResult]:
        if len(self.sources) == 0:  # type: ignore[arg-type]
            raise ValueError("Retrieval: there is no pair to score; call update() with some first")
        x, y, x_ids, y_ids = (dim_zero_cat(state) for state in self._states())
        return retrieval_scores(x, y, x_ids, y_ids, n_bootstrap, seed)

    def _states(self) -> list[Any]:
        return [self.sources, self.targets, self.source_ids, self.target_ids]
