"""Bounds of a curve between its measured points: hand-computed, and true for curves that bend in one direction."""

from collections.abc import Callable

import numpy as np
import pytest

from semalign_pl.functional.frontier import Curve, cost_band, difference_at, mean_difference
from semalign_pl.functional.interpolation import cost_bounds, costs_at


@pytest.mark.parametrize(
    ("points", "at", "bounds"),
    [
        ([(0, 0), (2, 1), (4, 5)], 3, (1.5, 3)),  # convex: above the extension of the first line, below its own
        ([(0, 0), (2, 1), (4, 5)], 1, (0, 0.5)),  # extension of the second line is at -1, and no cost is below 0
        ([(0, 0), (2, 4), (4, 5)], 3, (4.5, 5)),  # concave: the extension is at 6, above the second point
        ([(0, 0), (2, 1), (4, 5), (6, 6)], 3, (1.5, 4.5)),  # an inflection: one extension below, one above the line
        ([(0, 0), (2, 1), (4, 4), (6, 9)], 3, (1.5, 2.5)),  # x squared / 2 or so: the line is at 2.5
        ([(0, 0), (4, 8)], 1, (0, 8)),  # no line continues: between the costs of the points
        ([(0, 0), (4, 8), (2, 0)], 1, (0, 8)),  # the way back is another branch, which does not continue the line
        ([(0, 0), (2, 1), (4, 5)], 2, (1, 1)),  # a measured point
        ([(0, 0), (2, 1), (4, 5)], 9, (5, 5)),  # beyond the end
        ([(0, 0), (2, 1), (4, 5), (3, 2), (0, 0)], 3, (1.5, 2)),  # two branches: each bound is the lower one
        ([(1, 0), (1, 3), (2, 4)], 1.5, (3, 4)),  # a vertical line has no extension
    ],
)
def test_bounds_by_hand(points: list[tuple[float, float]], at: float, bounds: tuple[float, float]) -> None:
    low, high = cost_bounds(*np.array(points, float).T, [at])
    assert (low.item(), high.item()) == pytest.approx(bounds)


@pytest.mark.parametrize("curve", [lambda q: q**3 / 1e4, np.sqrt, lambda q: np.exp(q / 10), lambda q: 2 * q])
def test_the_truth_is_within_the_bounds(curve: Callable[[np.ndarray], np.ndarray]) -> None:
    quality, all_qualities = np.array([0.0, 7.0, 20.0, 45.0, 70.0, 77.0]), np.linspace(0, 77, 200)
    low, high = cost_bounds(quality, curve(quality), all_qualities.tolist())
    line = costs_at(quality, curve(quality), all_qualities.tolist())
    assert (low <= curve(all_qualities) + 1e-9).all() and (curve(all_qualities) <= high + 1e-9).all()
    assert (low <= line + 1e-9).all() and (line <= high + 1e-9).all()


def steep(*quality: float) -> Curve:
    """One seed of one true curve, measured without noise at some qualities."""
    points = np.array([[quality]])
    return Curve(points, 75 * (points / 77) ** 8)


def test_one_curve_measured_at_other_points_is_not_told_apart() -> None:
    fine, coarse = steep(0, 52, 53, 58, 59, 77), steep(0, 20, 53, 77)
    at = difference_at(fine, coarse, 70)
    assert at is not None and at.value < -4 and at.ci[1] > 0  # lines alone: more than 4 apart, and no other noise
    mean = mean_difference(fine, coarse)
    assert mean is not None and mean.value < -0.5 and mean.ci[1] > 0
    at_a_point = difference_at(fine, coarse, 53)
    assert at_a_point is not None and at_a_point.value == at_a_point.ci[0] == at_a_point.ci[1] == 0


def test_two_points_of_one_curve_are_not_told_apart_from_two_others() -> None:
    at = difference_at(steep(53, 77), steep(60, 77), 65)
    assert at is not None and at.value > 4 and at.ci[0] < 0 < at.p


def test_a_band_is_wider_between_points() -> None:
    at_point, between = cost_band(steep(0, 20, 53, 77), [53.0, 70.0])
    assert at_point is not None and between is not None
    assert at_point.ci[1] - at_point.ci[0] == 0 < between.ci[1] - between.ci[0]
