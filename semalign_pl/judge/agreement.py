"""Agreement of several judges on the same items: Krippendorff's alpha."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from semalign_pl.judge.records import Judgement

WINNERS = ("a", "tie", "b")


@dataclass(frozen=True)
class Agreement:
    """Agreement on the winner, over the items that two or more judges have judged.

    Attributes:
        alpha: Krippendorff's alpha for nominal values: 1 if all agree, 0 if they agree as often as by chance.
            ``None`` if it is undefined: no item has two judges, or all verdicts are the same.
        items: Number of items with two or more judges.
        unanimous: Number of those on which all judges agree.
    """

    alpha: float | None
    items: int
    unanimous: int


def measure_agreement(judgements: Iterable[Judgement]) -> Agreement:
    """Agreement of judges; those who left items out are no problem.

    The verdict of a judge on an item is the mean over its judgements: two orders that disagree are a tie.

    Args:
        judgements: Judgements of all judges on the same two systems; those without a verdict do not count.

    Raises:
        ModuleNotFoundError: If the package ``krippendorff`` is not installed.
    """
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in judgements:
        if one.value is not None:
            values[one.id, one.judge].append(one.value)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for (id, _), each in values.items():
        share = fmean(each)
        counts[id]["a" if share > 0.5 else "b" if share < 0.5 else "tie"] += 1
    several = [count for count in counts.values() if count.total() > 1]
    unanimous = sum(len(count) == 1 for count in several)
    # Without two different verdicts, chance disagreement is 0, and alpha is 0 / 0.
    varied = len({winner for count in several for winner in count}) > 1
    return Agreement(_alpha(several) if varied else None, len(several), unanimous)


def _alpha(counts: list[Counter[str]]) -> float:
    import krippendorff
    import numpy as np

    table = np.array([[count[winner] for winner in WINNERS] for count in counts])
    return float(krippendorff.alpha(value_counts=table, level_of_measurement="nominal"))
