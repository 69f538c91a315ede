"""Ledger of questions: which ones a system unlearned and learned, against the base model and other systems.

A system has several seeds, and an exact test needs independent pairs, so answers of one question must not be counted
once per seed. A question is right for a system if it is right in more than half of the seeds, wrong if it is wrong in
more than half, and undecided at a tie, which is neither lost nor gained. Each question then counts once, and McNemar's
exact test is about questions: would other questions of this kind show a change, too? It is not about other trainings;
the verdicts' intervals have the noise of those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from semalign_pl.frontier.measured_point import MeasuredPoint
from semalign_pl.frontier.measured_study import BASE, END, MeasuredSystem
from semalign_pl.frontier.resampled import Resampled
from semalign_pl.functional.significance import Array, holm, mcnemar

WORST = 20


@dataclass(frozen=True)
class Answers:
    """Answers of one system to all questions, in the base's order of questions.

    Attributes:
        right: Correctness, 0 or 1, ``(seeds, questions)``.
        f1: F1 to sort losses by, or correctness if there is no F1, ``(seeds, questions)``.
        texts: Answer per seed and question.
    """

    right: Array
    f1: Array
    texts: tuple[tuple[str | None, ...], ...]

    def decided(self) -> Array:
        """Correctness by majority of seeds: 1, 0, or 0.5 at a tie, ``(questions,)``."""
        share = self.right.mean(0)
        return np.where(share > 0.5, 1.0, np.where(share < 0.5, 0.0, 0.5))


def right_or_wrong(base: MeasuredPoint) -> list[str]:
    """Metrics that are right or wrong per item: exact match.

    Args:
        base: Base model.
    """
    return [name for name in base.metrics if name.endswith("_em")]


def write_ledger(
    resampled: Resampled,
    systems: Mapping[str, MeasuredSystem],
    metric: str,
    pairs: Sequence[tuple[str, str]] = (),
) -> dict[str, object]:
    """Ledger of the finished adapters in one metric.

    Args:
        resampled: Base model, with the check that all were tested alike.
        systems: Points by system.
        metric: Name of a metric that is right (above 0) or wrong per item.
        pairs: Pairs of systems to compare, besides each with the base; empty for all.

    Returns:
        ``items``, ``item_set``, and ``comparisons``: per system and other system, both ways, the numbers of questions
        lost, gained and undecided, the ids of those lost and gained, McNemar's ``p`` and ``p_holm`` (over all pairs),
        and the ``worst`` twenty: largest drop of F1, then id, with both answers and the index of their seed.

    Raises:
        ValueError: If systems were not tested alike.
    """
    reference = resampled.measured(resampled.base, metric)
    answers = {BASE: _answers(resampled, [resampled.base], metric)}
    for name, system in systems.items():
        answers[name] = _answers(resampled, [points[system.points.index(END)] for points in system.seeds], metric)
    compared = [{a, b} for a, b in pairs]
    both_ways = [
        (a, b) for a, b in permutations(answers, 2) if a != BASE and (b == BASE or not compared or {a, b} in compared)
    ]
    entries = [_compare(reference.ids, answers, a, b) for a, b in both_ways]
    # Both directions of a pair have one p-value, so only one of them is in the family.
    once = {frozenset(pair): i for i, pair in enumerate(both_ways)}
    adjusted = dict(zip(once, holm([entries[i].p for i in once.values()]), strict=True))
    return {
        "item_set": reference.items,
        "items": len(reference.ids),
        "comparisons": [
            {**entry.as_dict(), "p_holm": adjusted[frozenset(pair)]}
            for pair, entry in zip(both_ways, entries, strict=True)
        ],
    }


@dataclass(frozen=True)
class _Entry:
    """Comparison of one system with another; the worst questions are those that it does worse."""

    system: str
    against: str
    seeds: int
    lost: int
    gained: int
    undecided: int
    lost_items: list[str]
    gained_items: list[str]
    p: float
    worst: list[dict[str, object]]

    def as_dict(self) -> dict[str, object]:
        return dict(vars(self))


def _compare(ids: Sequence[str], answers: Mapping[str, Answers], system: str, against: str) -> _Entry:
    ours, theirs = answers[system], answers[against]
    now, then = ours.decided(), theirs.decided()
    lost = [ids[i] for i in np.flatnonzero((then == 1) & (now == 0))]
    gained = [ids[i] for i in np.flatnonzero((then == 0) & (now == 1))]
    undecided = int(((then == 0.5) | (now == 0.5)).sum())
    drops = theirs.f1.mean(0) - ours.f1.mean(0)
    order = sorted(np.flatnonzero(drops > 0).tolist(), key=lambda i: (-drops[i], ids[i]))
    worst = [_worst(ids[i], i, float(drops[i]), ours, theirs, system, against) for i in order[:WORST]]
    p = mcnemar(len(lost), len(gained))
    return _Entry(system, against, len(ours.right), len(lost), len(gained), undecided, lost, gained, p, worst)


def _worst(
    key: str, item: int, drop: float, ours: Answers, theirs: Answers, system: str, against: str
) -> dict[str, object]:
    """One question with both answers, of the seed with the largest drop; the base has the same answer for all seeds."""
    by_seed = theirs.f1[:, item] - ours.f1[:, item]
    seed = int(by_seed.argmax())
    return {
        "id": key,
        "drop": drop,
        "seed": seed,
        "answers": {
            system: ours.texts[seed][item],
            against: theirs.texts[min(seed, len(theirs.texts) - 1)][item],
        },
        "right": {
            system: [int(ours.right[:, item].sum()), len(ours.right)],
            against: [int(theirs.right[:, item].sum()), len(theirs.right)],
        },
    }


def _answers(resampled: Resampled, points: Sequence[MeasuredPoint], metric: str) -> Answers:
    f1 = f"{metric.removesuffix('_em')}_f1"
    scores = f1 if f1 in resampled.base.metrics else metric
    right = [resampled.aligned(point, metric)[:, 0] > 0 for point in points]
    return Answers(
        np.array(right, dtype=np.float64),
        np.array([resampled.aligned(point, scores)[:, 0] for point in points]),
        tuple(_texts(resampled, point, metric) for point in points),
    )


def _texts(resampled: Resampled, point: MeasuredPoint, metric: str) -> tuple[str | None, ...]:
    measured = resampled.measured(point, metric)
    texts = dict(zip(measured.ids, measured.texts, strict=True))
    return tuple(texts[key] for key in resampled.measured(resampled.base, metric).ids)
