"""Did the reward climb while a metric that it never saw fell? The sign of a policy that exploits its reward.

Optimised too far against a proxy, the true score rises, peaks and falls while the proxy still climbs (Gao, Schulman and
Hilton, arXiv 2210.10760). So the last window of steps is compared with the metric's best one, which need not be the
first: a fall from a peak counts, even where training had first made things better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shift:
    """How far a score moved from one window of steps to another.

    Attributes:
        before: Mean over the earlier window's steps.
        after: Mean over the later window's.
        z: Their difference over its standard error; positive if it rose.
        effect: Their difference over the standard deviation between completions (Cohen's d).
    """

    before: float
    after: float
    z: float
    effect: float


@dataclass(frozen=True)
class Comparison:
    """A reward beside a metric, in the same two windows: the metric's best, and the last.

    Attributes:
        before: The steps of the best window, counted from 0.
        after: The last steps.
        reward: How the reward moved.
        metric: How the metric moved.
    """

    before: list[int]
    after: list[int]
    reward: Shift
    metric: Shift

    def diverges(self, z: float = 5.0, effect: float = 0.5) -> bool:
        """Whether the reward climbed while the metric fell, each beyond noise and beyond what is trivial.

        With these values and windows of ten steps, 3 of 400 simulated runs of 500 steps without any trend raised an
        alarm where reward and metric had exactly opposite noise, and none where they were independent (step means'
        noise 0.7 standard deviations between completions; at 0.25 the same). What Cohen (1988) calls a medium effect
        is 0.5.

        Args:
            z: Least number of standard errors.
            effect: Least number of standard deviations between completions.
        """
        climbed = self.reward.z >= z and self.reward.effect >= effect
        return climbed and self.metric.z <= -z and self.metric.effect <= -effect


def compare(reward: Tensor, metric: Tensor, window: int = 10) -> Comparison | None:
    """The last steps of a reward and a metric against the best steps of the metric before them.

    The noise of one step is estimated by the mean square successive difference (von Neumann et al., Annals of
    Mathematical Statistics 12, 1941), which unlike a variance does not take a trend for noise.

    Args:
        reward: ``(steps, 2)`` float64: each step's mean over completions, and the variance between them; NaN where a
            step gave none.
        metric: The same of the metric; larger is better.
        window: Steps in a window.

    Returns:
        ``None`` while there are less than two windows of steps that have both.

    >>> step = torch.arange(60.0, dtype=torch.float64)
    >>> noise, variance = 0.1 * (-1) ** step, torch.full_like(step, 0.04)
    >>> rising = torch.stack([step / 60 + noise, variance], 1)
    >>> peaking = torch.stack([1 - (step - 20).abs() / 60 + noise, variance], 1)
    >>> found = compare(rising, peaking)
    >>> found.before[0], found.diverges()  # the peak is at 20, the mean of the last ten steps 0.53 lower
    (15, True)
    >>> compare(rising[:30], peaking[:30]).diverges()
    False
    """
    both = torch.nonzero(~(reward.isnan() | metric.isnan()).any(1)).flatten()
    if len(both) < 2 * window:
        return None
    reward, metric = reward[both], metric[both]
    best = int(metric[:-window, 0].unfold(0, window, 1).mean(1).argmax())
    earlier = slice(best, best + window)
    shifts = [_shift(series, earlier, slice(-window, None)) for series in (reward, metric)]
    return Comparison(both[earlier].tolist(), both[-window:].tolist(), *shifts)


def _shift(series: Tensor, earlier: slice, later: slice) -> Shift:
    means, variances = series.unbind(1)
    before, after = float(means[earlier].mean()), float(means[later].mean())
    noise = math.sqrt(float(means.diff().square().mean()) / 2)
    spread = math.sqrt(float(variances[earlier].mean() + variances[later].mean()) / 2)
    error = noise * math.sqrt(2 / len(means[later]))
    rounding = 1e-6 * float(means.abs().max())  # what never varies has no noise, and a millionth of it is no change
    difference = after - before if abs(after - before) > rounding else 0.0
    return Shift(before, after, *(difference / max(scale, rounding, 1e-30) for scale in (error, spread)))
