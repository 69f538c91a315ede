"""Base of metrics that keep one row of sufficient statistics per text, so that texts can be resampled."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from semalign_pl.functional.bootstrap import confidence_interval
from semalign_pl.functional.formulas import score, value
from semalign_pl.languages import Language
from semalign_pl.types import MetricResult


class RowMetric(Metric):
    """Metric that is a function of the sum of per-text statistics.

    A subclass implements ``rows`` and ``signature``, and gives a ``formula`` or implements ``from_total``. With several
    processes, ``compute`` and ``score`` gather the statistics of all of them.

    Attributes:
        formula: Formula of ``functional/formulas.py`` that gives the score from the sum of the statistics. A test keeps
            the statistics of such a metric in ``items.jsonl``.
    """

    formula: str | None = None

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

    @property
    @abstractmethod
    def signature(self) -> str:
        """Every option that changes the score, as ``key:value`` joined by ``|``."""

    def in_language(self, language: Language) -> RowMetric:
        """The same metric by the rules of another language; this one itself if no language changes its value.

        Args:
            language: Language of the texts.
        """
        return self

    def from_total(self, total: Tensor, n: int) -> float:
        """Metric of ``n`` texts from the sum of their statistics, ``(statistics,)`` float64."""
        if self.formula is None:
            raise NotImplementedError(f"{type(self).__name__}: give it a `formula`, or a method `from_total`")
        return float(value(self.formula, total.numpy(), n))

    @property
    def has_items(self) -> bool:
        """True if the formula alone gives the score; false for a subclass that computes it by methods of its own."""
        own = (getattr(type(self), name) is not getattr(RowMetric, name) for name in ("from_total", "score"))
        return self.formula is not None and not any(own)

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
        self.statistics.append(self.statistics_of(predictions, references).to(self.device))

    def per_row(self, predictions: list[str], references: list[str]) -> list[float]:
        """Metric of each text; adds nothing to the state, and is free after ``update`` with the same texts."""
        return [self.from_row(row) for row in self.statistics_of(predictions, references)]

    def statistics_of(self, predictions: list[str], references: list[str]) -> Tensor:
        """Statistics of each text on the CPU, as ``rows`` gives them; free after ``update`` with the same texts.

        Raises:
            ValueError: If the numbers of predictions and references differ.
        """
        if len(predictions) != len(references):
            raise ValueError(f"references: {len(references)} for {len(predictions)} predictions; give one for each")
        if self._last is None or self._last[:2] != (predictions, references):
            self._last = (list(predictions), list(references), self.rows(predictions, references).double().cpu())
        return self._last[2]

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
        if self.formula is not None and self.has_items:
            return score(self.formula, rows.numpy(), self.signature, n_bootstrap, seed)
        of_all = self.from_total(rows.sum(0), len(rows))
        if n_bootstrap == 0:
            return MetricResult(of_all, None, self.signature)
        interval = confidence_interval(
            lambda counts: self.from_total(counts @ rows, len(rows)), len(rows), n_bootstrap, seed
        )
        return MetricResult(of_all, interval, f"{self.signature}|bs:{n_bootstrap}|seed:{seed}")

    def reset(self) -> None:
        """Forget all texts."""
        super().reset()
        self._last = None

    def _all_rows(self) -> Tensor:
        if len(self.statistics) == 0 or len(rows := dim_zero_cat(self.statistics)) == 0:
            raise ValueError(f"{type(self).__name__}: there is no text to score; call update() with some first")
        return rows.cpu()
