"""Verdicts on pairs of systems: which one costs less at equal quality, or that it cannot be told."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from semalign_pl.frontier.entry import VerdictEntry
from semalign_pl.functional.frontier import Curve, Difference, difference_at, mean_difference, reliable_range
from semalign_pl.functional.significance import holm

LEVEL = 0.05
"""Largest p-value, after Holm's correction, of a difference that a verdict speaks of."""
SAME, APART = "not distinguishable", "no common range"
NICE = (5, 2, 1)


@dataclass(frozen=True)
class Verdict:
    """Comparison of one cost of two systems.

    Attributes:
        a: First system.
        b: Second system.
        metric: Name of the cost metric.
        less_is_better: True if the metric is itself a cost; else its cost is base minus system.
        quality: Quality to compare at; ``None`` for the mean over the common range.
        reach: Range of quality that every seed reaches, of both systems.
        seeds: Number of seeds.
        items: Number of items of the metric.
        item_set: Name of their set.
        found: Difference of cost, first minus second; ``None`` if there is no common range.
        p_holm: p-value after Holm's correction.
    """

    a: str
    b: str
    metric: str
    less_is_better: bool
    quality: float | None
    reach: tuple[tuple[float, float], tuple[float, float]]
    seeds: int
    items: int
    item_set: str
    found: Difference | None
    p_holm: float | None = None

    @property
    def outcome(self) -> str:
        """``a`` or ``b``, the system that costs less; or that they cannot be told apart or compared."""
        if self.found is None:
            return APART
        if self.p_holm is None or self.p_holm > LEVEL or self.found.value == 0:
            return SAME
        return "a" if self.found.value < 0 else "b"

    def as_dict(self) -> VerdictEntry:
        """Entry of ``frontier.verdicts`` in ``results.json``."""
        found = self.found
        return {
            "a": self.a,
            "b": self.b,
            "metric": self.metric,
            "less_is_better": self.less_is_better,
            "quality": self.quality,
            "range": None if found is None else list(found.range),
            "reach": [list(each) for each in self.reach],
            "difference": None if found is None else found.value,
            "ci": None if found is None else list(found.ci),
            "p": None if found is None else found.p,
            "p_holm": self.p_holm,
            "seeds": self.seeds,
            "items": self.items,
            "item_set": self.item_set,
            "outcome": self.outcome,
        }


def compare_pair(
    names: tuple[str, str],
    curves: Mapping[str, tuple[Curve, Curve]],
    items: Mapping[str, tuple[str, int]],
    less_is_better: Mapping[str, bool],
    at: Sequence[float],
) -> Iterator[Verdict]:
    """Compare two systems in each cost: over their common range, and at stated qualities. Not corrected yet.

    Args:
        names: Names of the two systems.
        curves: Curves of the two systems by cost metric.
        items: Name of the item set and number of items, by cost metric.
        less_is_better: Direction by cost metric.
        at: Qualities to compare at; empty for one quality that both reach, near the upper end of the common range.

    Yields:
        Verdicts, without their corrected p-values.
    """
    for metric, (a, b) in curves.items():
        shared = reliable_range(a, b)
        stated: Sequence[float] = at or ([] if shared is None else [readable_quality(*shared)])
        for quality in (None, *stated):
            yield Verdict(
                *names,
                metric=metric,
                less_is_better=less_is_better[metric],
                quality=quality,
                reach=(a.reach(), b.reach()),
                seeds=a.quality.shape[1],
                items=items[metric][1],
                item_set=items[metric][0],
                found=mean_difference(a, b) if quality is None else difference_at(a, b, quality),
            )


def correct(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Add Holm's correction: one family of all means over a common range, another of all stated qualities.

    A family has the verdicts on all pairs and all metrics, because a reader sees all of them.

    Args:
        verdicts: Verdicts of a study.
    """
    corrected = list(verdicts)
    for of_means in (True, False):
        family = [i for i, verdict in enumerate(verdicts) if (verdict.quality is None) == of_means and verdict.found]
        adjusted = holm([found.p for i in family if (found := verdicts[i].found) is not None])
        for i, p in zip(family, adjusted, strict=True):
            corrected[i] = replace(verdicts[i], p_holm=p)
    return corrected


def readable_quality(low: float, high: float) -> float:
    """Quality near the upper end of a range, rounded down to a multiple of 1, 2 or 5 times a power of ten.

    It is within a 25th of the range from the end, because the end is a measured point of one of the two systems, and
    lines between points are least certain far from points.

    Args:
        low: Lower end.
        high: Upper end, above ``low``.

    >>> readable_quality(50.2, 59.47), readable_quality(0.41, 0.538), readable_quality(-1.0, 63.0)
    (59.4, 0.535, 62.0)
    """
    largest = (high - low) / 25
    power = 10.0 ** math.floor(math.log10(largest))
    step = next(nice * power for nice in NICE if nice * power <= largest)
    return float(f"{math.floor(high / step) * step:.12g}")
