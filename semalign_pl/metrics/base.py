"""A torchmetrics metric kept as one row of sufficient statistics a text, so that rows can be resampled."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from semalign_pl.functional.bootstrap import confidence_interval
from semalign_pl.types import Score


class RowMetric(Metric):
    """A score that is a function of summed rows.

    A subclass gives ``rows``, ``from_total`` and ``signature``. Under several processes ``compute`` and ``score``
    gather the rows of all of them.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True
    statistics: list[Tensor] | Tensor

    def __init__(self) -> None:
        """Start without rows."""
        super().__init__()
        self.add_state("statistics", default=[], dist_reduce_fx="cat")
        self._last: tuple[list[str], list[str], Tensor] | None = None

    @abstractmethod
    def rows(self, predictions: list[str], references: list[str]) -> Tensor:
        """Sufficient statistics: ``(texts, statistics)`` float64."""

    @abstractmethod
    def from_total(self, total: Tensor, n: int) -> float:
        """The score of ``n`` texts whose rows sum to ``total``: ``(statistics,)`` float64."""

    @property
    @abstractmethod
    def signature(self) -> str:
        """Every option that changes the score, as ``key:value`` joined by ``|``."""

    def from_row(self, row: Tensor) -> float:
        """The score of one text, from its row: ``(statistics,)`` float64."""
        return self.from_total(row, 1)

    def update(self, predictions: list[str], references: list[str]) -> None:
        """Add texts.

        Args:
            predictions: What the policy wrote (texts).
            references: What was wanted (texts).

        Raises:
            ValueError: If there are not as many references as predictions.
        """
        assert isinstance(self.statistics, list)
        self.statistics.append(self._rows(predictions, references).to(self.device))

    def per_row(self, predictions: list[str], references: list[str]) -> list[float]:
        """Each text's own score; adds nothing to the metric, and costs nothing after ``update`` with the same texts."""
        return [self.from_row(row) for row in self._rows(predictions, references)]

    def compute(self) -> Tensor:
        """The score of all texts so far: ``()`` float64.

        Raises:
            ValueError: If there was no text.
        """
        rows = self._all_rows()
        return torch.tensor(self.from_total(rows.sum(0), len(rows)), dtype=torch.float64, device=self.device)

    def score(self, n_bootstrap: int = 1000, seed: int = 12345) -> Score:
        """The score of all texts so far, with its 95 % percentile bootstrap interval over texts.

        Args:
            n_bootstrap: Resamples; 0 for no interval.
            seed: Of the resampling.

        Raises:
            ValueError: If there was no text.
        """
        with self.sync_context(should_sync=self._to_sync, should_unsync=self._should_unsync):
            rows = self._all_rows()
        value = self.from_total(rows.sum(0), len(rows))
        if n_bootstrap == 0:
            return Score(value, None, self.signature)
        interval = confidence_interval(
            lambda counts: self.from_total(counts @ rows, len(rows)), len(rows), n_bootstrap, seed
        )
        return Score(value, interval, f"{self.signature}|bs:{n_bootstrap}|seed:{seed}")

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
