"""Comparison at equal quality: hand-computed curves, and simulated studies with a known answer."""

import math

import numpy as np
import pytest
from scipy import stats

from semalign_pl.functional.frontier import (
    Curve,
    common_range,
    cost_at,
    difference_at,
    hypervolume,
    mean_difference,
)


def curve(*seeds: list[tuple[float, float]]) -> Curve:
    """Curve without resamples, from (quality, cost) of each point of each seed."""
    points = np.array([seeds], float)
    return Curve(points[..., 0], points[..., 1])


@pytest.mark.parametrize(
    ("points", "quality", "cost"),
    [
        ([(40, 2), (60, 8)], 45, 3.5),
        ([(40, 2), (60, 8)], 40, 2),
        ([(40, 2), (60, 8)], 60, 8),
        ([(40, 2), (60, 8)], 39.9, math.nan),
        ([(40, 2), (60, 8)], 60.1, math.nan),
        ([(50, 3)], 50, 3),
        ([(50, 3)], 51, math.nan),
        ([(40, 2), (60, 8), (50, 4)], 55, 6),  # up: 6.5; back down, from 8 to 4: 6
        ([(40, 2), (40, 1), (60, 9)], 40, 1),  # two points of one quality: the cheaper one
        ([(60, 8), (40, 2)], 45, 3.5),  # the order of the points is the curve's, not that of quality
    ],
)
def test_interpolation_between_measured_points_only(points, quality: float, cost: float) -> None:
    assert cost_at(*np.array(points, float).T, quality) == pytest.approx(cost, nan_ok=True)


def test_the_common_range_is_what_every_seed_reaches() -> None:
    a = curve([(40, 1), (60, 2)], [(44, 1), (66, 2)])
    assert a.reach() == (44, 60)
    assert common_range(a, curve([(50, 1), (70, 2)], [(30, 1), (58, 2)])) == (50, 58)
    assert common_range(a, curve([(61, 1), (70, 2)], [(61, 1), (70, 2)])) is None


def test_difference_by_hand() -> None:
    # Three points on a straight line each, so that interpolation adds no error.
    a, b = (curve(*([(40, c), (44, c + 2), (60, c + 10)] for c in costs)) for costs in ((0, 2, 1), (4, 8, 3)))
    at = difference_at(a, b, 50)
    assert at is not None  # costs 5, 7, 6 and 9, 13, 8: differences -4, -6, -2
    assert at.value == -4
    half = stats.t.ppf(0.975, 2) * 2 / math.sqrt(3)
    assert at.ci == pytest.approx((-4 - half, -4 + half))
    assert at.p == pytest.approx(stats.ttest_1samp([-4, -6, -2], 0).pvalue)
    mean = mean_difference(a, b)
    assert mean is not None and mean.value == pytest.approx(-4) and mean.ci == pytest.approx(at.ci)
    assert difference_at(a, b, 61) is None


def test_variance_of_items_is_added_to_that_of_seeds() -> None:
    draws = np.array([0.0, -1.0, 1.0, -2.0, 2.0])  # the measured value, then four resamples: variance 10 / 3
    quality = np.broadcast_to(np.array([40.0, 60.0]), (5, 2, 2))
    cost_a = np.broadcast_to(np.array([[1.0], [3.0]]), (5, 2, 2)) + draws[:, None, None]
    at = difference_at(Curve(quality, cost_a), Curve(quality, np.zeros((5, 2, 2))), 50)
    assert at is not None and at.value == 2
    of_seeds, of_items = 2 / 2, 10 / 3
    freedom = (of_seeds + of_items) ** 2 / of_seeds**2
    half = stats.t.ppf(0.975, freedom) * math.sqrt(of_seeds + of_items)
    assert at.ci == pytest.approx((2 - half, 2 + half))


def test_a_quality_that_resamples_do_not_reach_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    quality = np.tile(np.array([40.0, 60.0]), (201, 1, 1))
    quality[1:] += rng.normal(0, 2, (200, 1, 1))
    flat = Curve(quality, np.zeros_like(quality))
    assert difference_at(flat, flat, 59.9) is None
    assert difference_at(flat, flat, 50) is not None
    assert mean_difference(flat, flat) is not None


def test_other_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="same seeds and resamples"):
        difference_at(curve([(40, 0), (60, 1)]), curve([(40, 0), (60, 1)], [(40, 0), (60, 1)]), 50)
    with pytest.raises(ValueError, match="one shape"):
        Curve(np.zeros((1, 2, 3)), np.zeros((1, 2, 4)))


def study(rng: np.random.Generator, shift: float, seeds: int = 5, items: int = 200, draws: int = 200):
    """Two systems of five points, with noise of seeds and of the items that both are tested on."""
    weights = np.concatenate([np.ones((1, items)), rng.multinomial(items, np.full(items, 1 / items), draws)]) / items
    difficulty = rng.normal(0, 20, items)
    curves = []
    for cost in (0.0, shift):
        base = np.array([45.0, 52.0, 60.0, 67.0, 74.0])
        luck = rng.normal(0, 1.5, (seeds, 1)), rng.normal(0, 3, (seeds, 1))
        answers = 5 + (base - 45) + cost + luck[1]  # (seeds, points)
        noise = rng.normal(0, 30, (seeds, len(base), items))
        per_item = answers[..., None] + difficulty + noise
        quality_items = (base + luck[0])[..., None] + rng.normal(0, 8, (1, 1, items)) + rng.normal(0, 8, noise.shape)
        curves.append(Curve(*(np.moveaxis(x @ weights.T, -1, 0) for x in (quality_items, per_item))))
    return curves


def test_equal_systems_are_seldom_told_apart() -> None:
    rng = np.random.default_rng(1)
    found = [mean_difference(*study(rng, 0.0)) for _ in range(200)]
    kept = [d for d in found if d is not None]
    assert len(kept) == 200
    assert np.mean([d.ci[0] <= 0 <= d.ci[1] for d in kept]) >= 0.93


def test_a_planted_difference_is_found() -> None:
    rng = np.random.default_rng(2)
    found = [mean_difference(*study(rng, 12.0)) for _ in range(40)]
    kept = [d for d in found if d is not None]
    assert all(d.value < 0 for d in kept)
    assert np.mean([d.ci[1] < 0 and d.p < 0.05 for d in kept]) >= 0.95
    assert np.mean([d.ci[0] <= -12 <= d.ci[1] for d in kept]) >= 0.9


def test_hypervolume_by_hand() -> None:
    points = np.array([50.0, 60.0, 55.0, 70.0]), np.array([1.0, 3.0, 4.0, 9.0])
    # (60 - 50) above the reference for costs 1 to 10, then 10 more from 3 on, then 10 more from 9 on; 55 is dominated.
    assert hypervolume(*points, 40.0, 10.0) == 10 * 9 + 10 * 7 + 10 * 1
    assert hypervolume(*points, 40.0, 8.0) == 10 * 7 + 10 * 5
    assert hypervolume(*points, 80.0, 10.0) == 0
