"""Search for a scale within a budget, against hand-computed steps and properties that hold for any loss curve."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from semalign_pl.functional.dial import ENOUGH, RESOLUTION, Trial, choose, next_scale

INF = math.inf
Array = NDArray[np.float64]


def search(used: Callable[[float], float], tests: int) -> list[Trial]:
    trials = [Trial(0.0, used(0.0))]
    while len(trials) <= tests and (scale := next_scale(trials)) is not None:
        trials.append(Trial(scale, used(scale)))
    return trials


@pytest.mark.parametrize(
    ("trials", "scale", "following"),
    [
        ([(0.0, 0.0)], 0.0, 1.0),  # the finished adapter is tested first
        ([(0.0, 0.0), (1.0, 1.0)], 1.0, None),  # all of it may be used, exactly
        ([(0.0, 0.0), (1.0, 4.0)], 0.0, 0.25),  # the secant meets 1 at a quarter
        ([(0.0, 0.2), (1.0, 1.8)], 0.0, 0.5),
        ([(0.0, 0.0), (1.0, 4.0), (0.25, 0.5)], 0.25, 0.625),  # then the middle of 0.25 and 1
        ([(0.0, 0.0), (1.0, 4.0), (0.25, 0.5), (0.625, 2.0)], 0.25, 0.375),  # 0.25 + 0.375 * 0.5 / 1.5
        ([(0.0, 0.0), (1.0, 100.0)], 0.0, 0.1),  # never closer than a tenth of the range to its end
        ([(0.0, 0.0), (1.0, 1.01)], 0.0, 0.9),
        ([(0.0, 0.0), (1.0, INF)], 0.0, 0.5),  # an unbounded loss has no secant
        ([(0.0, 0.0), (1.0, 4.0), (0.5, 1.1), (0.49, 0.9)], 0.49, None),  # close enough
        ([(0.0, 0.0), (1.0, 4.0), (0.5, 0.96)], 0.5, None),  # nearly all of the budget is used
        ([(0.0, 1.5), (1.0, 0.5)], None, None),  # the start of the search exceeds the budget
        # 0.6 is within the budget by luck: a smaller scale exceeds it
        ([(0.0, 0.0), (1.0, 4.0), (0.5, 1.2), (0.6, 0.8)], 0.0, 0.417),
    ],
)
def test_hand_computed(trials: list[tuple[float, float]], scale: float | None, following: float | None) -> None:
    tested = [Trial(*trial) for trial in trials]
    chosen = choose(tested)
    assert (None if chosen is None else chosen.scale) == scale
    assert next_scale(tested) == following
    assert choose(tested[::-1]) == chosen


CURVES = st.dictionaries(st.integers(0, 1000), st.floats(-2, 5), min_size=1)


@given(CURVES, st.integers(1, 12))
def test_any_curve(curve: dict[int, float], tests: int) -> None:
    """However the loss jumps, the choice and all smaller tested scales are within the budget."""
    trials = search(lambda scale: curve.get(round(1000 * scale), sum(curve.values()) * scale), tests)
    scales = [trial.scale for trial in trials]
    assert len(set(scales)) == len(scales) <= tests + 1 and all(0 <= scale <= 1 for scale in scales)
    chosen = choose(trials)
    if chosen is None:
        assert trials[0].used > 1 and len(trials) == 1
        return
    below = [trial for trial in trials if trial.scale <= chosen.scale]
    assert all(trial.used <= 1 for trial in below)
    larger = [trial for trial in trials if trial.scale > chosen.scale]
    assert not larger or min(larger, key=lambda trial: trial.scale).used > 1


@given(st.floats(0.5, 3.0), st.floats(0.2, 60.0))
def test_a_rising_loss_is_bracketed(exponent: float, at_end: float) -> None:
    trials = search(lambda scale: at_end * scale**exponent, tests=24)
    chosen = choose(trials)
    assert chosen is not None
    largest = min(1.0, (1 / at_end) ** (1 / exponent))
    assert chosen.scale <= largest + 1e-9
    assert chosen.scale >= largest - RESOLUTION - 1e-3 or chosen.used >= ENOUGH


@pytest.mark.parametrize("at_end", [2.0, 5.0, 15.0])
@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0])
def test_six_tests_come_close(exponent: float, at_end: float) -> None:
    chosen = choose(search(lambda scale: at_end * scale**exponent, tests=6))
    assert chosen is not None and chosen.used >= 0.6


@pytest.mark.parametrize(("confidence", "low", "high"), [(0.95, 0.9, 1.0), (0.5, 0.0, 0.65)])
def test_the_bound_keeps_the_true_loss_within_the_budget(confidence: float, low: float, high: float) -> None:
    """400 simulated searches: each of 100 questions is lost above a scale of its own, and 10 of 100 may be.

    With the loss as measured, the choice would exceed the budget in nearly half of the searches.
    """
    random, within = np.random.default_rng(0), 0
    for _ in range(400):
        thresholds = random.normal(0.75, 0.15, 100)

        def used(scale: float, thresholds: Array = thresholds) -> float:
            bound = stats.binom.ppf(confidence, 100, (thresholds < scale).mean())  # of a bootstrap over questions
            return float(bound) / 10 if scale else 0.0

        chosen = choose(search(used, tests=6))
        assert chosen is not None
        within += stats.norm.cdf(chosen.scale, 0.75, 0.15) <= 0.1
    assert low <= within / 400 <= high
