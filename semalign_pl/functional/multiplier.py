"""The weight of a constraint, steered by how much of a budget is used up."""

from __future__ import annotations

import math
from collections.abc import Mapping


def budget_used(start: Mapping[str, float], now: Mapping[str, float], budget: Mapping[str, float]) -> dict[str, float]:
    """Share of each budget that is used up: the change since the start over the change allowed.

    Args:
        start: Values when the stage began.
        now: Values now, in the same units.
        budget: Changes allowed: below 0 for what may fall, above 0 for what may rise.

    Returns:
        By name: 0 where nothing changed, 1 at the limit, above 1 beyond it, below 0 where it got better.

    >>> budget_used({"f1": 60.0, "nll": 0.1}, {"f1": 57.0, "nll": 0.05}, {"f1": -4.0, "nll": 0.1})
    {'f1': 0.75, 'nll': -0.5}
    """
    return {name: (now[name] - start[name]) / allowed for name, allowed in budget.items()}


def next_multiplier(
    multiplier: float, used: float, before: float, *, target: float, rate: float, low: float, high: float
) -> float:
    """One step of dual ascent on a Lagrange multiplier: it grows where the constraint is about to be broken.

    ``log m += rate * (max(used, 2 used - before) - target)``, held within bounds. The second term looks one measurement
    ahead, since what a multiplier does shows only later (derivative control: Stooke et al., arXiv 2007.03964, section
    4); a fall is not looked ahead of, so that the guard is not let down early. In logarithms, because useful weights of
    a KL span orders of magnitude; bounds that act on the sum itself keep it from winding up.

    Args:
        multiplier: The weight now, above 0.
        used: Share of the budget that is used up, by ``budget_used``.
        before: The same at the measurement before.
        target: The share to settle at.
        rate: Gain.
        low: Least weight, above 0.
        high: Greatest weight.

    Returns:
        The next weight, in [low, high].

    >>> steer = dict(target=0.5, rate=1.0, low=0.01, high=10.0)
    >>> round(next_multiplier(1.0, used=0.75, before=0.5, **steer), 4)  # 1.0 is ahead: e^0.5
    1.6487
    >>> round(next_multiplier(1.0, used=0.25, before=0.5, **steer), 4)  # falling: e^-0.25
    0.7788
    >>> next_multiplier(5.0, used=4.0, before=0.0, **steer)
    10.0
    """
    ahead = max(used, 2 * used - before)
    # Cut before exp: a budget used a thousand times over must not overflow.
    return min(max(multiplier * math.exp(min(rate * (ahead - target), 50.0)), low), high)
