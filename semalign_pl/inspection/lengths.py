"""Length statistics: exact percentiles from the number of texts of each length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

Statistics = dict[str, Any]
"""Statistics by name, as in ``corpus.json``; several levels deep."""
PERCENTILES = (5, 50, 95, 99)


class Lengths:
    """Number of texts of each length. Memory grows with the number of different lengths, not with the number of rows.

    Attributes:
        counts: Number of texts by length.
    """

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, lengths: Iterable[int]) -> None:
        """Count the lengths of more texts."""
        self.counts.update(lengths)

    @property
    def total(self) -> int:
        """Sum of all lengths."""
        return sum(length * count for length, count in self.counts.items())

    def percentiles(self, *percents: int) -> list[int]:
        """Nearest-rank percentiles: the smallest length that ``percent`` % of the texts do not exceed.

        Args:
            *percents: Percentages from 1 to 100, ascending.
        """
        rows, below, lengths, ascending = self.counts.total(), 0, [], iter(sorted(self.counts.items()))
        length = 0
        for percent in percents:
            while below * 100 < percent * rows:
                length, count = next(ascending)
                below += count
            lengths.append(length)
        return lengths

    def longer_than(self, limit: int) -> int:
        """Number of texts longer than ``limit``."""
        return sum(count for length, count in self.counts.items() if length > limit)

    def summary(self) -> Statistics:
        """Total, mean, percentiles and maximum, by name: ``total``, ``mean``, ``p5`` to ``p99``, ``max``."""
        rows = self.counts.total()
        names = [*(f"p{percent}" for percent in PERCENTILES), "max"]
        values = self.percentiles(*PERCENTILES, 100)
        return {
            "total": self.total,
            "mean": self.total / rows if rows else 0.0,
            **dict(zip(names, values, strict=True)),
        }


def share(count: float, whole: float) -> float:
    """``count / whole``; 0 if ``whole`` is 0."""
    return count / whole if whole else 0.0
