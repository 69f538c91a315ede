"""Ledger of questions: which ones a system unlearned and learned, against the base model and other systems.

A system has several seeds, and an exact test needs independent pairs, so answers of one question must not be counted
once per seed. A question is right for a system if it is right in more than half of the seeds, wrong if it is wrong in
more than half, and undecided at a tie, which is neither lost nor gained. Each question then counts once, and McNemar's
exact test is about questions: would other questions of this kind show a change, too? It is not about other trainings;
the verdicts' intervals have the noise of those.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from semalign_pl.frontier.entry import LedgerComparison, LedgerEntry, LostItem
from semalign_pl.frontier.measured_point import MeasuredPoint
from semalign_pl.frontier.measured_study import BASE, END, MeasuredSystem
from semalign_pl.frontier.resampled import Resampled
from semalign_pl.functional.significance import Array, holm, mcnemar

WORST = 20
_RIGHT_OR_WRONG = re.compile(r"_(em|exact_match(_.+)?|accuracy|acc|prompt_strict)$")
"""End of the name of a metric that is right or wrong per item; lm-evaluation-harness appends its filter."""


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

    def decide_by_majority(self) -> Array:
        """Correctness by majority of seeds: 1, 0, or 0.5 at a tie, ``(questions,)``."""
        share = self.right.mean(0)
        return np.where(share > 0.5, 1.0, np.where(share < 0.5, 0.0, 0.5))


def right_or_wrong(resampled: Resampled, systems: Iterable[MeasuredSystem]) -> list[str]:
    """Metrics that are right or wrong per item, such as exact match and accuracy, and alike for all finished adapters.

    Args:
        resampled: Base model, with the check that all were tested alike.
        systems: Points by system.
    """
    finished = [
        MeasuredSystem((END,), tuple((points[system.points.index(END)],) for points in system.seeds))
        for system in systems
    ]
    return [
        name
        for name, measured in resampled.base.metrics.items()
        if _RIGHT_OR_WRONG.search(name)
        and measured.formula == "mean"
        # A score between right and wrong, such as the share of a user's own checks, is not for a ledger.
        and len(np.unique(measured.statistics[measured.statistics != 0])) <= 1
        # A study may give its systems different probes; the metrics to compare have been checked.
        and all(resampled.is_tested_alike(system, (name,)) for system in finished)
    ]


def make_ledger(
    resampled: Resampled,
    systems: Mapping[str, MeasuredSystem],
    metric: str,
    pairs: Sequence[tuple[str, str]] = (),
) -> LedgerEntry:
    """Ledger of the finished adapters in one metric.

    Args:
        resampled: Base model, with the check that all were tested alike.
        systems: Points by system.
        metric: Name of a metric that is right (above 0) or wrong per item.
        pairs: Pairs of systems to compare, besides each with the base; empty for all.

    Returns:
        Comparison of each system with the base and the others, both ways; McNemar's p-values are corrected over all
        pairs. The worst twenty have the largest drop of F1, then the first id.

    Raises:
        ValueError: If systems were not tested alike.
    """
    reference = resampled.metric_of(resampled.base, metric)
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
    adjusted = dict(zip(once, holm([entries[i]["p"] for i in once.values()]), strict=True))
    for pair, entry in zip(both_ways, entries, strict=True):
        entry["p_holm"] = adjusted[frozenset(pair)]
    return {"item_set": reference.items, "items": len(reference.ids), "comparisons": entries}


def _compare(ids: Sequence[str], answers: Mapping[str, Answers], system: str, against: str) -> LedgerComparison:
    """Comparison of one system with another; the worst questions are those that it does worse."""
    ours, theirs = answers[system], answers[against]
    now, then = ours.decide_by_majority(), theirs.decide_by_majority()
    lost = [ids[int(i)] for i in np.flatnonzero((then == 1) & (now == 0))]
    gained = [ids[int(i)] for i in np.flatnonzero((then == 0) & (now == 1))]
    drops = theirs.f1.mean(0) - ours.f1.mean(0)
    order = sorted(map(int, np.flatnonzero(drops > 0)), key=lambda i: (-drops[i], ids[i]))
    return {
        "system": system,
        "against": against,
        "seeds": len(ours.right),
        "lost": len(lost),
        "gained": len(gained),
        "undecided": int(((then == 0.5) | (now == 0.5)).sum()),
        "lost_items": lost,
        "gained_items": gained,
        "p": (p := mcnemar(len(lost), len(gained))),
        "p_holm": p,  # corrected when all pairs are compared
        "worst": [_lost_item(ids[i], i, float(drops[i]), {system: ours, against: theirs}) for i in order[:WORST]],
    }


def _lost_item(key: str, item: int, drop: float, pair: Mapping[str, Answers]) -> LostItem:
    """One question with both answers, of the seed with the largest drop; the base has one answer for all seeds."""
    ours, theirs = pair.values()
    seed = int((theirs.f1[:, item] - ours.f1[:, item]).argmax())
    return {
        "id": key,
        "drop": drop,
        "seed": seed,
        "answers": {name: each.texts[min(seed, len(each.texts) - 1)][item] for name, each in pair.items()},
        "right": {name: [int(each.right[:, item].sum()), len(each.right)] for name, each in pair.items()},
    }


def _answers(resampled: Resampled, points: Sequence[MeasuredPoint], metric: str) -> Answers:
    f1 = _RIGHT_OR_WRONG.sub("_f1", metric)
    found = resampled.base.metrics.get(f1)
    scores = f1 if found is not None and found.ids == resampled.base.metrics[metric].ids else metric
    right = [resampled.align(point, metric)[:, 0] > 0 for point in points]
    return Answers(
        np.array(right, dtype=np.float64),
        np.array([resampled.align(point, scores)[:, 0] for point in points]),
        tuple(_texts(resampled, point, metric) for point in points),
    )


def _texts(resampled: Resampled, point: MeasuredPoint, metric: str) -> tuple[str | None, ...]:
    measured = resampled.metric_of(point, metric)
    texts = dict(zip(measured.ids, measured.texts, strict=True))
    return tuple(texts[key] for key in resampled.metric_of(resampled.base, metric).ids)
