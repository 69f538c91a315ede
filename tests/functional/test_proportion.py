"""Confidence interval of a proportion, against SciPy's."""

import pytest
from scipy.stats import binomtest

from semalign_pl.functional.proportion import wilson_interval


@pytest.mark.parametrize(("hits", "trials"), [(0, 5), (1, 128), (3, 64), (64, 128), (128, 128)])
def test_wilson_interval_is_scipys(hits: int, trials: int) -> None:
    expected = binomtest(hits, trials).proportion_ci(0.95, "wilson")
    assert wilson_interval(hits, trials) == pytest.approx((expected.low, expected.high), abs=1e-4)
