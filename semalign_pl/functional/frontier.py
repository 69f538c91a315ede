"""Comparison of two systems at equal quality: the difference of what they cost where both reach the same quality.

A system is a curve through its measured points (kept steps, scales of its adapter, settings). End points of two systems
have unequal quality, so their costs say nothing about the method; frontiers are compared at matched quality instead
(LoRA learns less and forgets less, arXiv 2405.09673; RL's Razor, arXiv 2509.04259).

A cost is a number of which less is better: a loss of reading comprehension, a change of NLL, a KL. Curves are linear
between neighbouring points and end at the outermost ones: nothing is extrapolated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from semalign_pl.functional.interpolation import cost_bounds, costs_at
from semalign_pl.functional.significance import Array, Estimate, estimate

MIN_SHARE_OF_DRAWS = 0.95
"""Share of resamples in which both curves must reach a quality, for an interval to be given there."""


@dataclass(frozen=True)
class Curve:
    """Points of one system: quality and cost of every seed, as measured and under resampling of items.

    Attributes:
        quality: Quality of each point, ``(draws + 1, seeds, points)``; index 0 are the measured values, the others are
            computed from resampled items. All points and systems use the same resamples (paired).
        cost: Cost of each point, of the same shape.
    """

    quality: Array
    cost: Array

    def __post_init__(self) -> None:
        if self.quality.ndim != 3 or self.quality.shape != self.cost.shape or not self.quality.size:
            raise ValueError(
                f"a curve needs quality and cost of one shape (draws + 1, seeds, points); got {self.quality.shape} and "
                f"{self.cost.shape}"
            )

    def reach(self) -> tuple[float, float]:
        """Range of quality that every seed reaches, as measured; empty if the first number is larger."""
        return float(self.quality[0].min(-1).max()), float(self.quality[0].max(-1).min())

    def line_errors(self, qualities: Sequence[float]) -> tuple[Array, Array]:
        """Largest errors of the interpolated cost, downwards and upwards; see `cost_bounds`.

        The bounds are those of the mean curve over seeds, because noise of a point would count as a bend.

        Args:
            qualities: Qualities.

        Returns:
            Line minus lower bound, and upper bound minus line, each ``(qualities,)``.
        """
        quality, cost = self.quality[0].mean(0), self.cost[0].mean(0)
        low, high = cost_bounds(quality, cost, qualities)
        line = costs_at(quality, cost, np.clip(qualities, quality.min(), quality.max()).tolist())
        return np.maximum(line - low, 0), np.maximum(high - line, 0)


@dataclass(frozen=True)
class Difference(Estimate):
    """Difference of cost at equal quality, the first system minus the second: below 0, the first costs less.

    Attributes:
        quality: Quality at which the costs are compared; ``None`` for the mean over ``range``.
        range: Range of quality (low, high) that the costs are compared over; twice ``quality`` if that is given.
    """

    quality: float | None
    range: tuple[float, float]


def cost_at(quality: Array, cost: Array, wanted: float) -> float:
    """Cost of a curve at a quality, by linear interpolation between neighbouring points.

    Args:
        quality: Quality of the points in the order of the curve, ``(points,)``.
        cost: Cost of the points, ``(points,)``.
        wanted: Quality.

    Returns:
        Cost; the lowest one if the curve passes this quality several times; NaN if it does not reach it.

    >>> cost_at(np.array([40.0, 60.0]), np.array([2.0, 8.0]), 50.0)
    5.0
    >>> cost_at(np.array([40.0, 60.0]), np.array([2.0, 8.0]), 61.0)
    nan
    """
    return float(costs_at(quality, cost, [wanted])[0])


def common_range(a: Curve, b: Curve) -> tuple[float, float] | None:
    """Range of quality that all seeds of both systems reach; ``None`` if there is none.

    >>> low = Curve(np.array([[[48.0, 60.0]]]), np.zeros((1, 1, 2)))
    >>> high = Curve(np.array([[[62.0, 77.0]]]), np.zeros((1, 1, 2)))
    >>> common_range(low, high) is None
    True
    """
    low, high = max(a.reach()[0], b.reach()[0]), min(a.reach()[1], b.reach()[1])
    return (low, high) if low < high else None


def reliable_range(a: Curve, b: Curve) -> tuple[float, float] | None:
    """Range of quality that all seeds of both systems reach, as measured and in 95 % of the resamples.

    Resampling moves the ends of the curves, so it is a little narrower than ``common_range``.

    Args:
        a: First system.
        b: Second system, of the same seeds and resamples.

    Returns:
        Lowest and highest quality; ``None`` if there is no such range.
    """
    both = common_range(a, b)
    if both is None:
        return None
    lows = np.maximum(a.quality.min(-1).max(-1), b.quality.min(-1).max(-1))
    highs = np.minimum(a.quality.max(-1).min(-1), b.quality.max(-1).min(-1))
    low = max(both[0], float(np.quantile(lows, (1 + MIN_SHARE_OF_DRAWS) / 2, method="higher")))
    high = min(both[1], float(np.quantile(highs, (1 - MIN_SHARE_OF_DRAWS) / 2, method="lower")))
    return (low, high) if low < high else None


def difference_at(a: Curve, b: Curve, quality: float) -> Difference | None:
    """Difference of cost at one quality, with an interval over seeds and items (``estimate``).

    Args:
        a: First system.
        b: Second system, of the same seeds and resamples.
        quality: Quality to compare at.

    Returns:
        Difference; ``None`` if a seed of either system does not reach the quality, as measured or in more than 5 % of
        the resamples.

    Raises:
        ValueError: If the systems differ in their seeds or resamples.
    """
    differences = _differences(a, b, [quality])
    if differences is None:
        return None
    return _difference(differences[..., 0], _error(a, b, [quality]), quality, (quality, quality))


def mean_difference(a: Curve, b: Curve, steps: int = 33) -> Difference | None:
    """Difference of cost averaged over the range of quality that both reach; intervals as in ``difference_at``.

    Args:
        a: First system.
        b: Second system, of the same seeds and resamples.
        steps: Number of qualities, evenly spaced over the range, that the average is computed from.

    Returns:
        Difference; ``None`` if there is no common range.

    Raises:
        ValueError: If the systems differ in their seeds or resamples.
    """
    shared = reliable_range(a, b)
    qualities = [] if shared is None else np.linspace(*shared, steps).tolist()
    differences = _differences(a, b, qualities) if qualities else None
    if shared is None or differences is None:
        return None
    return _difference(_mean(differences), _error(a, b, qualities), None, shared)


def cost_band(curve: Curve, qualities: Sequence[float]) -> list[Estimate | None]:
    """Cost of one system at some qualities, with intervals as in ``difference_at``.

    Args:
        curve: System.
        qualities: Qualities.

    Returns:
        Cost per quality; ``None`` where a seed does not reach it, as measured or in more than 5 % of the resamples.
    """
    costs = costs_at(curve.quality, curve.cost, qualities)
    each = (_valid(costs[..., i : i + 1]) for i in range(len(qualities)))
    errors = np.maximum(*curve.line_errors(qualities)).tolist()
    return [None if cost is None else estimate(cost[..., 0], error) for cost, error in zip(each, errors, strict=True)]


def _differences(a: Curve, b: Curve, qualities: Sequence[float]) -> Array | None:
    """Differences of cost, ``(valid draws + 1, seeds, qualities)``; ``None`` if a curve ends before a quality."""
    if a.quality.shape[:2] != b.quality.shape[:2]:
        raise ValueError(
            f"two systems are compared by the same seeds and resamples; got {a.quality.shape[:2]} and "
            f"{b.quality.shape[:2]} (draws + 1, seeds)"
        )
    return _valid(costs_at(a.quality, a.cost, qualities) - costs_at(b.quality, b.cost, qualities))


def _valid(values: Array) -> Array | None:
    """Resamples without NaN, of ``(draws + 1, seeds, qualities)``; ``None`` if too few, or if the first has NaN."""
    valid = np.asarray(~np.isnan(values).any(axis=(1, 2)))
    return values[valid] if valid[0] and valid.mean() >= MIN_SHARE_OF_DRAWS else None


def _difference(differences: Array, error: float, quality: float | None, over: tuple[float, float]) -> Difference:
    found = estimate(differences, error)
    return Difference(found.value, found.ci, found.p, quality, over)


def _error(a: Curve, b: Curve, qualities: Sequence[float]) -> float:
    """Largest error of the mean interpolated difference: the curves' errors are independent of each other."""
    return math.hypot(*(max(float(_mean(side)) for side in curve.line_errors(qualities)) for curve in (a, b)))


def _mean(values: Array) -> Array:
    """Mean over evenly spaced qualities, from ``(…, qualities)`` to ``(…)``; by trapezoids, so the ends weigh half."""
    return values[..., 0] if values.shape[-1] == 1 else (values[..., 1:] + values[..., :-1]).mean(-1) / 2


def hypervolume(quality: Array, cost: Array, worst_quality: float, worst_cost: float) -> Array:
    """Area of qualities and costs that some measured point is at least as good as, up to a reference point.

    Source: Zitzler and Thiele, "Multiobjective evolutionary algorithms" (IEEE Transactions on Evolutionary Computation
    3, 1999). Needs no common range, but depends on the reference point, so it is comparable within a study only.

    Args:
        quality: Quality of the points, ``(…, points)``.
        cost: Cost of the points, ``(…, points)``.
        worst_quality: Quality of the reference point; worse points do not count.
        worst_cost: Cost of the reference point; worse points do not count.

    Returns:
        Area, in units of quality times units of cost, ``(…)``.

    >>> float(hypervolume(np.array([1.0, 3.0]), np.array([0.0, 2.0]), 0.0, 4.0))
    8.0
    """
    # From the cheapest point on, each point adds the quality that no cheaper one reached.
    order = np.argsort(cost, axis=-1, kind="stable")
    by_cost, saved = np.take_along_axis(quality, order, -1), worst_cost - np.take_along_axis(cost, order, -1)
    reached = np.maximum.accumulate(np.maximum(by_cost, worst_quality), axis=-1)
    added = np.diff(reached, axis=-1, prepend=worst_quality)
    return np.asarray((added * np.maximum(saved, 0)).sum(-1))
