"""Search for the largest scale of an adapter that stays within a budget, by few tests.

The budget used by a scale may be noisy and need not rise with the scale. So the choice is a safe one: the largest
tested scale such that neither it nor any smaller tested scale exceeds the budget. If each test uses an upper confidence
bound of the loss, this is fixed sequence testing from the safest setting on, as in Learn then Test (arXiv 2110.01052):
walking up and stopping at the first failure needs no correction for the number of tests. The guarantee is approximate
here, because the tested scales depend on earlier results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

RESOLUTION = 0.02
"""Distance of two scales below which the search ends."""
ENOUGH = 0.95
"""Used share of the budget from which on a larger scale is not worth another test."""
_MARGIN = 0.1


@dataclass(frozen=True)
class Trial:
    """Tested scale.

    Attributes:
        scale: Scale of the adapter's update, from 0 to 1.
        used: Largest used share of a budget; above 1 the budget is exceeded.
    """

    scale: float
    used: float

    @property
    def within(self) -> bool:
        """True if the budget is kept."""
        return self.used <= 1


def choose(trials: Sequence[Trial]) -> Trial | None:
    """Largest tested scale such that neither it nor any smaller tested one exceeds the budget.

    Args:
        trials: Tested scales, in any order.

    Returns:
        The trial; ``None`` if the smallest one exceeds the budget.

    >>> choose([Trial(1.0, 3.0), Trial(0.0, 0.0), Trial(0.5, 0.7)])
    Trial(scale=0.5, used=0.7)
    """
    low, _ = _bracket(trials)
    return low


def next_scale(trials: Sequence[Trial]) -> float | None:
    """Scale to test next: regula falsi on the used share of the budget, and bisection in turn.

    Scale 1 comes first. Each later scale is between the chosen one and the smallest that exceeds the budget. The secant
    converges fast on a smooth loss, but from one side only; bisection in every second step narrows the other.

    Args:
        trials: Tested scales, the lower end of the search (scale 0) among them.

    Returns:
        Scale with three decimals; ``None`` if there is little to gain: the largest scale is within the budget, the
        smallest is not, the chosen one uses ``ENOUGH`` of it, or the two ends are closer than ``RESOLUTION``.

    >>> next_scale([Trial(0.0, 0.0)]), next_scale([Trial(0.0, 0.0), Trial(1.0, 4.0)])
    (1.0, 0.25)
    """
    low, high = _bracket(trials)
    if low is None or low.scale == 1:
        return None
    if high is None:
        return 1.0
    width = high.scale - low.scale
    if width <= RESOLUTION or low.used >= ENOUGH:
        return None
    share = 0.5
    if len(trials) % 2 == 0 and high.used != float("inf"):
        share = (1 - low.used) / (high.used - low.used)
    return round(low.scale + width * min(max(share, _MARGIN), 1 - _MARGIN), 3)


def _bracket(trials: Sequence[Trial]) -> tuple[Trial | None, Trial | None]:
    """Chosen trial, and the smallest scale that exceeds the budget."""
    high = min((t for t in trials if not t.within), key=lambda t: t.scale, default=None)
    safe = [t for t in trials if t.within and (high is None or t.scale < high.scale)]
    return max(safe, key=lambda t: t.scale, default=None), high
