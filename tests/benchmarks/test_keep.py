"""Shares of an opponent's losses, by hand."""

from __future__ import annotations

import math

import pytest
from keep import tax_shares

BASE = {"cmrc_f1": 50.0, "nll_change_mean": 0.0}


@pytest.mark.parametrize(
    ("tested", "opponent", "expected"),
    [
        ((40.0, 0.1), (30.0, 0.4), {"cmrc_f1": 0.5, "nll_change_mean": 0.25}),
        ((52.0, -0.1), (30.0, 0.4), {"cmrc_f1": -0.1, "nll_change_mean": -0.25}),  # gains are negative losses
        ((40.0, 0.1), (51.0, -0.1), {"cmrc_f1": math.inf, "nll_change_mean": math.inf}),  # the opponent has none
        ((50.0, 0.0), (50.0, 0.0), {"cmrc_f1": 0.0, "nll_change_mean": 0.0}),
    ],
)
def test_shares(tested: tuple[float, float], opponent: tuple[float, float], expected: dict[str, float]) -> None:
    own, other = (dict(zip(BASE, values, strict=True)) for values in (tested, opponent))
    assert tax_shares(BASE, own, other, [*BASE]) == pytest.approx(expected)
