"""Studies in memory with known frontiers: items with noise of questions, trainings and points."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import ndtri

from semalign_pl.frontier.measured_point import MeasuredMetric, MeasuredPoint
from semalign_pl.frontier.measured_study import MeasuredSystem

PATH = ("cold", "step-50", "step-100", "end", "scale-0.75", "scale-0.5", "scale-0.25", "base")
LEVELS = (50.0, 60.0, 68.0, 74.0, 66.0, 45.0, 15.0, 0.0)
"""Quality of the points of a path: from the cold start up to the end, then scaled down to the base model."""
Frontier = Callable[[float], float]


def tax(quality: float) -> float:
    """Share of questions lost at a quality, 0.55 at 74."""
    return 0.55 * (max(quality, 0.0) / 74.0) ** 1.5


class SimulatedStudy:
    """Base model and systems that are tested on the same items.

    Args:
        rng: Source of all randomness.
        seeds: Number of trainings per system.
        items: Number of questions, and of test rows.
        quality_luck: Standard deviation over trainings of the quality of all points.
        cost_luck: Standard deviation over trainings of the logarithm of the loss.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        seeds: int = 5,
        items: int = 200,
        quality_luck: float = 1.5,
        cost_luck: float = 0.12,
    ) -> None:
        self.rng, self.seeds, self.luck = rng, seeds, (quality_luck, cost_luck)
        self.ids = tuple(map(str, range(items)))
        self.difficulty, self.rows = rng.normal(size=items), rng.normal(size=items)
        self.base = self._point(np.zeros(items), 100.0 * (self.difficulty > -2))

    def system(
        self, frontier: Frontier = tax, levels: Sequence[float] = LEVELS, path: Sequence[str] = PATH
    ) -> MeasuredSystem:
        """System with a planted frontier.

        A question is answered wrongly if a sum of its difficulty, noise of the training and noise of the point is below
        the quantile of the loss at the point's quality, so that the expected share of wrong answers is that loss.

        Args:
            frontier: Share of questions lost by quality.
            levels: Quality per point.
            path: Name per point.
        """
        runs = []
        for _ in range(self.seeds):
            gain, price = self.rng.normal(0, self.luck[0]), np.exp(self.rng.normal(0, self.luck[1]))
            own = self.rng.normal(size=len(self.ids))
            points = []
            for name, level in zip(path, levels, strict=True):
                if name == "base":
                    points.append(self.base)
                    continue
                ability = self.difficulty * 0.5**0.5 + own * 0.35**0.5
                ability = ability + self.rng.normal(0, 0.15**0.5, len(self.ids))
                right = ability > ndtri(min(frontier(level) * price, 0.99))
                chrf = level + gain * level / 74 + 8 * self.rows + self.rng.normal(0, 10, len(self.ids))
                points.append(self._point(chrf, 100.0 * right))
            runs.append(tuple(points))
        return MeasuredSystem(tuple(path), tuple(runs))

    def _point(self, chrf: np.ndarray, f1: np.ndarray) -> MeasuredPoint:
        def metric(items: str, values: np.ndarray) -> MeasuredMetric:
            return MeasuredMetric(items, self.ids, values[:, None].astype(np.float64), "mean", "simulated")

        return MeasuredPoint("simulated", {"chrf": metric("test", chrf), "cmrc_f1": metric("cmrc", f1)})
