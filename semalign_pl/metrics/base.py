"""Base of metrics that keep one row of sufficient statistics per text, so that texts can be resampled."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from semalign_pl.functional.bootstrap import confidence_interval
from semalign_pl.types import MetricResult


class RowMetric(Metric):
    """Metric that is a function of the sum of per-text statistics.

    A subclass implements ``rows``, ``from_total`` and ``signature``. With several processes, ``compute`` and ``score``
    gather the statistics of all of them.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    statistics: list[Tensor] | Tensor

    def __init__(self) -> None:
        """Start without texts."""
        super().__init__()
        self.add_state("statistics", default=[], dist_reduce_fx="cat")
        self._last: tuple[list[str], list[str], Tensor] | None = None

    @abstractmethod
    def rows(self, predictions: list[str], references: list[str]) -> Tensor:
        """Sufficient statistics of each text, ``(texts, statistics)`` float64."""

    @abstractmethod
    def from_total(self, total: Tensor, n: int) -> float:
        """Metric of ``n`` texts from the sum of their statistics, ``(statistics,)`` float64."""

    @property
    @abstractmethod
    def signature(self) -> str:
        """Every option that changes the score, as ``key:value`` joined by ``|``."""

    def from_row(self, row: Tensor) -> float:
        """Metric of one text from its statistics, ``(statistics,)`` float64."""
        return self.from_total(row, 1)

    def update(self, predictions: list[str], references: list[str]) -> None:
        """Add texts.

        Args:
            predictions: Outputs of the policy, one per text.
            references: References, one per text.

        Raises:
            ValueError: If the numbers of predictions and references differ.
        """
        assert isinstance(self.statistics, list)
        self.statistics.append(self._rows(predictions, references).to(self.device))

    def per_row(self, predictions: list[str], references: list[str]) -> list[float]:
        """Metric of each text; adds nothing to the state, and is free after ``update`` with the same texts."""
        return [self.from_row(row) for row in self._rows(predictions, references)]

    def compute(self) -> Tensor:
        """Metric of all texts so far, ``()`` float64.

        Raises:
            ValueError: If there is no text.
        """
        rows = self._all_rows()
        return torch.tensor(self.from_total(rows.sum(0), len(rows)), dtype=torch.float64, device=self.device)

    def score(self, n_bootstrap: int = 1000, seed: int = 12345) -> MetricResult:
        """Metric of all texts so far, with its 95 % percentile bootstrap interval over texts.

        Args:
            n_bootstrap: Number of resamples; 0 for no interval.
            seed: Seed of the bootstrap resampling.

        Raises:
            ValueError: If there is no text.
        """
        with self.sync_context(should_sync=self._to_sync, should_unsync=self._should_unsync):
            rows = self._all_rows()
        value = self.from_total(rows.sum(0), len(rows))
        if n_bootstrap == 0:
            return MetricResult(value, None, self.signature)
        interval = confidence_interval(
            lambda counts: self.from_total(counts @ rows, len(rows)), len(rows), n_bootstrap, seed
        )
        return MetricResult(value, interval, f"{self.signature}|bs:{n_bootstrap}|seed:{seed}")

    def reset(self) -> None:
        """Forget all texts."""
        super().reset()
        self._last = None

    def _all_rows(self) -> Tensor:
        if len(self.statistics) == 0 or len(rows := dim_zero_cat(self.statistics)) == 0:
            raise ValueError(f"{type(self).__name__}: there is no text to score; call update() with some first")
        return rows.cpu()

    def _rows(self, predictions: list[str], references: list[str]) -> Tensor:
        if len(predictions) != len(references):
            raise ValueError(f"references: {len(references)} for {len(predictions)} predictions; give one for each")
        if self._last is None or self._last[:2] != (predictions, references):
            self._last = (list(predictions), list(references), self.rows(predictions, references))
        return self._last[2]
