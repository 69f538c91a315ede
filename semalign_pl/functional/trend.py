"""Divergence of a reward from a metric that it never used: the sign of a policy that exploits its reward.

If a proxy is optimised too far, the true score rises, peaks and falls while the proxy still rises (Gao, Schulman and
Hilton, arXiv 2210.10760). So the last window of steps is compared with the metric's best window, not with the first: a
fall from a peak counts, even if training had improved the metric before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Shift:
    """Change of a series from one window of steps to another.

    Attributes:
        before: Mean over the steps of the earlier window.
        after: Mean over the steps of the later window.
        z: Difference divided by its standard error; positive for a rise.
        effect: Difference divided by the standard deviation between completions (Cohen's d).
    """

    before: float
    after: float
    z: float
    effect: float


@dataclass(frozen=True)
class Comparison:
    """Changes of a reward and of a metric between the same two windows: the metric's best one, and the last.

    Attributes:
        before: Steps of the best window, counted from 0.
        after: Steps of the last window.
        reward: Change of the reward.
        metric: Change of the metric.
    """

    before: list[int]
    after: list[int]
    reward: Shift
    metric: Shift

    def diverges(self, z: float = 5.0, effect: float = 0.5) -> bool:
        """Return true if the reward rose while the metric fell, each beyond noise and by a relevant amount.

        With the defaults and windows of ten steps, 3 of 400 simulated runs of 500 steps without a trend raised a false
        alarm when reward and metric had exactly opposite noise, and none when they were independent (noise of the step
        means 0.7 standard deviations between completions; at 0.25 the same). Cohen (1988) calls 0.5 a medium effect.

        Args:
            z: Minimum number of standard errors.
            effect: Minimum number of standard deviations between completions.
        """
        rose = self.reward.z >= z and self.reward.effect >= effect
        return rose and self.metric.z <= -z and self.metric.effect <= -effect


def compare(reward: Float[Tensor, "steps 2"], metric: Float[Tensor, "steps 2"], window: int = 10) -> Comparison | None:
    """Compare the last steps of a reward and a metric with the metric's best steps before them.

    The noise of one step is estimated by the mean square successive difference (von Neumann et al., Annals of
    Mathematical Statistics 12, 1941), which unlike a variance does not count a trend as noise.

    Args:
        reward: Per step the mean over completions and the variance between them, float64; NaN for steps without a
            reward.
        metric: Mean and variance of the metric; larger is better.
        window: Number of steps per window.

    Returns:
        The comparison, or ``None`` if fewer than two windows of steps have both.

    >>> step = torch.arange(60.0, dtype=torch.float64)
    >>> noise, variance = 0.1 * (-1) ** step, torch.full_like(step, 0.04)
    >>> rising = torch.stack([step / 60 + noise, variance], 1)
    >>> peaking = torch.stack([1 - (step - 20).abs() / 60 + noise, variance], 1)
    >>> found = compare(rising, peaking)
    >>> found.before[0], found.diverges()  # the peak is at 20, the mean of the last ten steps is 0.53 lower
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
    rounding = 1e-6 * float(means.abs().max())  # a constant series has no noise: changes below this are rounding
    difference = after - before if abs(after - before) > rounding else 0.0
    return Shift(before, after, *(difference / max(scale, rounding, 1e-30) for scale in (error, spread)))
