"""Interpolation of a curve between its measured points, and how far a straight line may be off.

Two systems whose points are at different qualities would differ by interpolation alone: on the miniature world, one
adapter measured at scales 0.57 and 1 seemed to cost 6 CMRC F1 points more at chrF 70 than itself measured at 0.61 and
1. So a line between two points counts with the uncertainty of the curve between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from semalign_pl.functional.significance import Array


def costs_at(quality: Array, cost: Array, wanted: Sequence[float]) -> Array:
    """Costs of curves at some qualities, by lines between neighbouring points.

    Args:
        quality: Quality of the points in the order of the curve, ``(…, points)``.
        cost: Cost of the points, ``(…, points)``.
        wanted: Qualities.

    Returns:
        Costs, ``(…, qualities)``; the lowest one if a curve passes a quality several times; NaN where it does not reach
        it.
    """
    at = np.asarray(wanted, dtype=np.float64)
    q, c = quality[..., None], cost[..., None]  # (…, points, 1)
    best = np.full((*quality.shape[:-1], len(at)), np.inf)
    # A loop over the points, because numpy is slow at reducing a short last axis.
    for i in range(quality.shape[-1]):
        best = np.where(q[..., i, :] == at, np.minimum(best, c[..., i, :]), best)
    for i in range(quality.shape[-1] - 1):
        q0, q1, c0, c1 = q[..., i, :], q[..., i + 1, :], c[..., i, :], c[..., i + 1, :]
        crossed = (np.minimum(q0, q1) < at) & (at < np.maximum(q0, q1))
        place = (at - q0) / np.where(q0 == q1, 1.0, q1 - q0)
        best = np.where(crossed, np.minimum(best, c0 + place * (c1 - c0)), best)
    return np.where(np.isinf(best), np.nan, best)


def cost_bounds(quality: Array, cost: Array, wanted: Sequence[float]) -> tuple[Array, Array]:
    """Bounds of a curve's cost at some qualities, between its measured points.

    A curve that bends in one direction is between the line through two points and the extensions of the lines next to
    it: below the line if it is convex, above if it is concave. It is also between the costs of the two points. Where
    no line continues a segment, only the latter holds.

    Args:
        quality: Quality of the points in the order of the curve, ``(points,)``.
        cost: Cost of the points, ``(points,)``.
        wanted: Qualities; those beyond the ends of the curve count as its ends.

    Returns:
        Lower and upper bounds, each ``(qualities,)``; those of the cheapest branch if the curve passes several times.

    >>> low, high = cost_bounds(np.array([0.0, 2.0, 4.0]), np.array([0.0, 1.0, 5.0]), [2.0, 3.0])
    >>> low.tolist(), high.tolist()  # the line is at 3 at quality 3, and that of the first two points at 1.5
    ([1.0, 1.5], [1.0, 3.0])
    """
    at = np.clip(np.asarray(wanted, dtype=np.float64), quality.min(), quality.max())
    lows, highs = np.full(len(at), np.inf), np.full(len(at), np.inf)
    for point_quality, point_cost in zip(quality, cost, strict=True):
        here = at == point_quality
        lows[here], highs[here] = np.minimum(lows[here], point_cost), np.minimum(highs[here], point_cost)
    for i in range(len(quality) - 1):
        ends = quality[i : i + 2]
        crossed = (ends.min() < at) & (at < ends.max())
        low, high = _segment_bounds(quality, cost, i, at[crossed])
        lows[crossed], highs[crossed] = np.minimum(lows[crossed], low), np.minimum(highs[crossed], high)
    return lows, highs


def _segment_bounds(quality: Array, cost: Array, i: int, at: Array) -> tuple[Array, Array]:
    """Bounds between the points ``i`` and ``i + 1``, at qualities between them."""
    least, most = cost[i : i + 2].min(), cost[i : i + 2].max()
    line = _line(quality, cost, i, at)
    low, high, neighbours = np.full(len(at), -np.inf), np.full(len(at), np.inf), 0
    for extension in _extensions(quality, cost, i, at):
        neighbours += 1
        low = np.where(extension <= line, np.maximum(low, extension), low)
        high = np.where(extension >= line, np.minimum(high, extension), high)
    # The line itself is the other bound of a curve that bends in one direction.
    low, high = (np.where(np.isinf(bound), line, bound) if neighbours else bound for bound in (low, high))
    return np.clip(low, least, line), np.clip(high, line, most)


def _extensions(quality: Array, cost: Array, i: int, at: Array) -> Iterator[Array]:
    """Lines through the segments before and after segment ``i``, as far as they continue in its direction."""
    direction = quality[i + 1] - quality[i]
    for j in (i - 1, i + 1):
        if 0 <= j < len(quality) - 1 and (quality[j + 1] - quality[j]) * direction > 0:
            yield _line(quality, cost, j, at)


def _line(quality: Array, cost: Array, i: int, at: Array) -> Array:
    """Line through the points ``i`` and ``i + 1``, which have different qualities."""
    return cost[i] + (at - quality[i]) / (quality[i + 1] - quality[i]) * (cost[i + 1] - cost[i])
