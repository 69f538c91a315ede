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
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]

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


@dataclass(frozen=True)
class Difference:
    """Difference of cost at equal quality, the first system minus the second: below 0, the first costs less.

    Attributes:
        quality: Quality at which the costs are compared; ``None`` for the mean over the common range.
        value: Mean over seeds.
        ci: 95 % confidence interval (low, high).
        p: Two-sided p-value of no difference.
    """

    quality: float | None
    value: float
    ci: tuple[float, float]
    p: float


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
    return float(_costs_at(quality[None], cost[None], wanted)[0])


def _costs_at(quality: Array, cost: Array, wanted: float) -> Array:
    """Cost of many curves at a quality, from ``(…, points)`` to ``(…)``; see ``cost_at``."""
    at_points = np.where(quality == wanted, cost, np.inf).min(-1)
    q0, q1, c0, c1 = quality[..., :-1], quality[..., 1:], cost[..., :-1], cost[..., 1:]
    crossed = (np.minimum(q0, q1) < wanted) & (wanted < np.maximum(q0, q1))
    place = (wanted - q0) / np.where(crossed, q1 - q0, 1.0)
    between = np.where(crossed, c0 + place * (c1 - c0), np.inf).min(-1, initial=np.inf)
    best = np.minimum(at_points, between)
    return np.where(np.isinf(best), np.nan, best)


def common_range(a: Curve, b: Curve) -> tuple[float, float] | None:
    """Range of quality that all seeds of both systems reach; ``None`` if there is none.

    >>> low = Curve(np.array([[[48.0, 60.0]]]), np.zeros((1, 1, 2)))
    >>> high = Curve(np.array([[[62.0, 77.0]]]), np.zeros((1, 1, 2)))
    >>> common_range(low, high) is None
    True
    """
    low, high = max(a.reach()[0], b.reach()[0]), min(a.reach()[1], b.reach()[1])
    return (low, high) if low < high else None


def difference_at(a: Curve, b: Curve, quality: float) -> Difference | None:
    """Difference of cost at one quality, with an interval over seeds and items.

    Two variances are added: that of the mean over seeds, from the differences per seed, and that of the test items,
    from resamples of the same items for both systems. The interval is Student's, with the degrees of freedom of Welch
    and Satterthwaite (Biometrics Bulletin 2, 1946), because a bootstrap over five seeds is too narrow.

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
    return None if differences is None else _with_interval(differences[..., 0], quality)


def mean_difference(a: Curve, b: Curve, steps: int = 33) -> Difference | None:
    """Difference of cost averaged over the common range of quality; intervals as in ``difference_at``.

    Args:
        a: First system.
        b: Second system, of the same seeds and resamples.
        steps: Number of qualities, evenly spaced over the range, that the average is computed from.

    Returns:
        Difference; ``None`` if there is no common range.

    Raises:
        ValueError: If the systems differ in their seeds or resamples.
    """
    both = common_range(a, b)
    if both is None:
        return None
    # Resampling moves the ends of the curves. The average is over the qualities that 95 % of the resamples reach.
    low = np.quantile(np.maximum(a.quality.min(-1).max(-1), b.quality.min(-1).max(-1)), (1 + MIN_SHARE_OF_DRAWS) / 2)
    high = np.quantile(np.minimum(a.quality.max(-1).min(-1), b.quality.max(-1).min(-1)), (1 - MIN_SHARE_OF_DRAWS) / 2)
    low, high = max(low, both[0]), min(high, both[1])
    differences = _differences(a, b, list(np.linspace(low, high, steps))) if low < high else None
    return None if differences is None else _with_interval(differences.mean(-1), None)


def _differences(a: Curve, b: Curve, qualities: Sequence[float]) -> Array | None:
    """Differences of cost, ``(valid draws + 1, seeds, qualities)``; ``None`` if a curve ends before a quality."""
    if a.quality.shape[:2] != b.quality.shape[:2]:
        raise ValueError(
            f"two systems are compared by the same seeds and resamples; got {a.quality.shape[:2]} and "
            f"{b.quality.shape[:2]} (draws + 1, seeds)"
        )
    costs = [np.stack([_costs_at(c.quality, c.cost, quality) for quality in qualities], -1) for c in (a, b)]
    differences = costs[0] - costs[1]
    valid = np.asarray(~np.isnan(differences).any(axis=(1, 2)))
    return differences[valid] if valid[0] and valid.mean() >= MIN_SHARE_OF_DRAWS else None


def _with_interval(differences: Array, quality: float | None) -> Difference:
    """Difference with Student's interval, from ``(draws + 1, seeds)``."""
    measured, draws = differences[0], differences[1:].mean(1)
    value, seeds = float(measured.mean()), len(measured)
    of_seeds = float(measured.var(ddof=1)) / seeds if seeds > 1 else 0.0
    of_items = float(draws.var(ddof=1)) if len(draws) > 1 else 0.0
    total = of_seeds + of_items
    if total == 0:
        return Difference(quality, value, (value, value), 1.0 if value == 0 else 0.0)
    freedom = total**2 * (seeds - 1) / of_seeds**2 if of_seeds else math.inf
    half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(total)
    p = 2 * float(stats.t.sf(abs(value) / math.sqrt(total), freedom))
    return Difference(quality, value, (value - half, value + half), p)


def hypervolume(quality: Array, cost: Array, worst_quality: float, worst_cost: float) -> float:
    """Area of qualities and costs that some measured point is at least as good as, up to a reference point.

    Source: Zitzler and Thiele, "Multiobjective evolutionary algorithms" (IEEE Transactions on Evolutionary Computation
    3, 1999). Needs no common range, but depends on the reference point, so it is comparable within a study only.

    Args:
        quality: Quality of the points, ``(points,)``.
        cost: Cost of the points, ``(points,)``.
        worst_quality: Quality of the reference point; worse points do not count.
        worst_cost: Cost of the reference point; worse points do not count.

    Returns:
        Area, in units of quality times units of cost.

    >>> hypervolume(np.array([1.0, 3.0]), np.array([0.0, 2.0]), 0.0, 4.0)
    8.0
    """
    area, reached = 0.0, worst_quality
    for point in np.argsort(cost, kind="stable"):  # from the cheapest on, a point adds the quality not reached before
        if cost[point] < worst_cost and quality[point] > reached:
            area += float((quality[point] - reached) * (worst_cost - cost[point]))
            reached = float(quality[point])
    return area


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of several comparisons (Holm, Scandinavian Journal of Statistics 6, 1979), in the same order.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p-value of McNemar's test (Psychometrika 12, 1947): as many items lost as gained?

    Args:
        lost: Number of items right before and wrong now.
        gained: Number of items wrong before and right now.

    >>> mcnemar(5, 0)
    0.0625
    """
    return 1.0 if lost + gained == 0 else float(stats.binomtest(lost, lost + gained).pvalue)
