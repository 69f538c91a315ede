"""Lagrange multiplier of a budget: the weight of a constraint, adjusted by the share of the budget that is used."""

from __future__ import annotations

import math
from collections.abc import Mapping


def budget_used(start: Mapping[str, float], now: Mapping[str, float], budget: Mapping[str, float]) -> dict[str, float]:
    """Used share of each budget: the change since the start, divided by the allowed change.

    Args:
        start: Values at the start of the stage, by name.
        now: Current values, by name, in the same units.
        budget: Allowed changes, by name: below 0 for values that may fall, above 0 for values that may rise.

    Returns:
        Shares by name: 0 without change, 1 at the limit, above 1 beyond it, below 0 for an improvement.

    >>> budget_used({"f1": 60.0, "nll": 0.1}, {"f1": 57.0, "nll": 0.05}, {"f1": -4.0, "nll": 0.1})
    {'f1': 0.75, 'nll': -0.5}
    """
    return {name: (now[name] - start[name]) / allowed for name, allowed in budget.items()}


def next_multiplier(
    multiplier: float, used: float, before: float, *, target: float, rate: float, low: float, high: float
) -> float:
    """One step of dual ascent on a Lagrange multiplier: it grows when the constraint is about to be violated.

    ``log m += rate * (max(used, 2 used - before) - target)``, clamped to bounds. The second term extrapolates by one
    measurement, because a multiplier acts with a delay (derivative control: Stooke et al., arXiv 2007.03964, section
    4); a decrease is not extrapolated, so that the weight does not fall too early. The step is in logarithms, because
    useful KL weights span orders of magnitude; clamping the sum itself prevents wind-up.

    Args:
        multiplier: Current weight, above 0.
        used: Used share of the budget, from ``budget_used``.
        before: Used share at the previous measurement.
        target: Share to converge to.
        rate: Gain.
        low: Minimum weight, above 0.
        high: Maximum weight.

    Returns:
        Next weight, in [low, high].

    >>> steer = dict(target=0.5, rate=1.0, low=0.01, high=10.0)
    >>> round(next_multiplier(1.0, used=0.75, before=0.5, **steer), 4)  # extrapolated to 1.0: e^0.5
    1.6487
    >>> round(next_multiplier(1.0, used=0.25, before=0.5, **steer), 4)  # falling: e^-0.25
    0.7788
    >>> next_multiplier(5.0, used=4.0, before=0.0, **steer)
    10.0
    """
    ahead = max(used, 2 * used - before)
    # Clamp before exp: a budget used a thousand times over must not overflow.
    return min(max(multiplier * math.exp(min(rate * (ahead - target), 50.0)), low), high)
