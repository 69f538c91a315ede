"""Dual ascent on a multiplier, against numbers computed by hand."""

import math

import pytest

from semalign_pl.functional.multiplier import budget_used, next_multiplier

STEER = {"target": 0.7, "rate": 2.0, "low": 0.04, "high": 10.0}


def test_budget_used_either_way() -> None:
    start, now = {"f1": 60.0, "nll": 0.1, "em": 50.0}, {"f1": 59.0, "nll": 0.3, "em": 52.0}
    used = budget_used(start, now, {"f1": -4.0, "nll": 0.1, "em": -4.0})
    assert used == pytest.approx({"f1": 0.25, "nll": 2.0, "em": -0.5})


@pytest.mark.parametrize(
    ("used", "before", "exponent"),
    [
        (0.7, 0.7, 0.0),  # at the target: no change
        (0.9, 0.9, 0.4),  # 2 * (0.9 - 0.7)
        (0.9, 0.6, 1.0),  # rising: extrapolated to 1.2
        (0.4, 0.6, -0.6),  # falling: not extrapolated
        (-1.0, -1.0, -3.4),  # better than before: relaxed
    ],
)
def test_step(used: float, before: float, exponent: float) -> None:
    assert next_multiplier(1.5, used, before, **STEER) == pytest.approx(1.5 * math.exp(exponent), rel=1e-12)


def test_bounds_hold_and_do_not_wind_up() -> None:
    m = 1.0
    for _ in range(20):
        m = next_multiplier(m, 1000.0, 0.0, **STEER)
        assert m == 10.0
    assert next_multiplier(m, 0.2, 0.2, **STEER) == pytest.approx(10 * math.exp(-1.0))  # leaves the bound at once
    for _ in range(20):
        m = next_multiplier(m, -5.0, -5.0, **STEER)
    assert m == 0.04
