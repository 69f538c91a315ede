"""Confidence interval of a proportion."""

from __future__ import annotations

import math


def wilson_interval(hits: float, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's score interval of a binomial proportion (Wilson 1927; recommended by Brown, Cai and DasGupta 2001).

    Args:
        hits: Number of successes; a tie may count half.
        trials: Number of independent trials, at least 1.
        z: Standard normal quantile; 1.96 for 95 %.

    Returns:
        Lower and upper bound, in [0, 1].

    >>> [round(bound, 4) for bound in wilson_interval(5, 10)]
    [0.2366, 0.7634]
    """
    share, spread = hits / trials, z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / trials + spread / (4 * trials)) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)
