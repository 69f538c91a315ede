"""Agreement of several judges on the same items: Krippendorff's alpha."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from semalign_pl.judge.records import Judgement


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
    """
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in judgements:
        if one.value is not None:
            values[one.id, one.judge].append(one.value)
    verdicts: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for (id, judge), each in values.items():
        share = fmean(each)
        verdicts[id].append((judge, "a" if share > 0.5 else "b" if share < 0.5 else "tie"))
    several = {id: of_item for id, of_item in verdicts.items() if len(of_item) > 1}
    unanimous = sum(len({winner for _, winner in of_item}) == 1 for of_item in several.values())
    # Without two different verdicts, chance disagreement is 0, and alpha is 0 / 0.
    varied = len({winner for of_item in several.values() for _, winner in of_item}) > 1
    return Agreement(_alpha(several) if varied else None, len(several), unanimous)


def _alpha(verdicts: dict[str, list[tuple[str, str]]]) -> float:
    from nltk.metrics.agreement import AnnotationTask

    data = [(judge, id, winner) for id, of_item in verdicts.items() for judge, winner in of_item]
    return float(AnnotationTask(data=data).alpha())
