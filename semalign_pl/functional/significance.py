"""Intervals over training seeds and test items, and p-values of several comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Array = NDArray[np.float64]

MOST_FREEDOM = 1e6
"""Degrees of freedom at which Student's distribution is taken for normal."""


@dataclass(frozen=True)
class Estimate:
    """Mean over seeds with its 95 % confidence interval.

    Attributes:
        value: Mean over seeds, as measured.
        ci: 95 % confidence interval (low, high).
        p: Two-sided p-value of the value 0.
    """

    value: float
    ci: tuple[float, float]
    p: float


def estimate(values: Array, error: float = 0.0) -> Estimate:
    """Mean over seeds with an interval over seeds and items.

    Two variances are added: that of the mean over seeds, from the measured values per seed, and that of the test items,
    from resamples of the same items for all seeds. The interval is Student's, with the degrees of freedom of Welch and
    Satterthwaite (Biometrics Bulletin 2, 1946), because a bootstrap over five seeds is too narrow. With one seed, the
    interval is over items only.

    Args:
        values: Value per seed, as measured (index 0) and per resample, ``(draws + 1, seeds)``.
        error: Largest systematic error of the value, of all seeds alike. It adds the variance of a uniform
            distribution, ``error ** 2 / 3`` (Guide to the Expression of Uncertainty in Measurement, 4.3.7).
    """
    measured, draws = values[0], values[1:].mean(1)
    value, seeds = float(measured.mean()), len(measured)
    of_seeds = float(measured.var(ddof=1)) / seeds if seeds > 1 else 0.0
    of_items = float(draws.var(ddof=1)) if len(draws) > 1 else 0.0
    total = of_seeds + of_items + error**2 / 3
    if total == 0:
        return Estimate(value, (value, value), 1.0 if value == 0 else 0.0)
    share = of_seeds / total
    freedom = min((seeds - 1) / share**2, MOST_FREEDOM) if share else MOST_FREEDOM
    half = float(stdtrit(freedom, 0.975)) * math.sqrt(total)
    p = 2 * float(stdtr(freedom, -abs(value) / math.sqrt(total)))
    return Estimate(value, (value - half, value + half), p)


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
    from scipy.stats import binomtest

    return 1.0 if lost + gained == 0 else float(binomtest(lost, lost + gained).pvalue)
