"""Agreement of judges, against the definition and the figures of Krippendorff's own example."""

from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict

import pytest

from semalign_pl.judge.agreement import Agreement, measure_agreement
from semalign_pl.judge.records import Judgement, Side, Winner


def verdict(id: int, judge: str, winner: Winner | None, first: Side = "a") -> Judgement:
    return Judgement(str(id), judge, "translation", first, winner)


def test_binary_example_of_krippendorff() -> None:
    """Section A of "Computing Krippendorff's Alpha-Reliability" (2011): two observers, ten units, alpha 0.095."""
    meg, owen = "0100000000", "1110010100"
    winners: dict[str, Winner] = {"0": "a", "1": "b"}
    judgements = [
        verdict(unit, name, winners[values[unit]])
        for name, values in (("Meg", meg), ("Owen", owen))
        for unit in range(10)
    ]
    found = measure_agreement(judgements)
    assert found.alpha == pytest.approx(1 - 19 * 4 / (14 * 6))  # 14 zeros, 6 ones, 4 units with both
    assert (found.items, found.unanimous) == (10, 6)


def alpha_by_definition(values: dict[int, list[str]]) -> float:
    """Krippendorff (2011), section C: 1 - observed / expected disagreement, from the matrix of coincidences."""
    coincidences: Counter[tuple[str, str]] = Counter()
    for each in values.values():
        for pair in itertools.permutations(each, 2):
            coincidences[pair] += 1 / (len(each) - 1)
    totals: Counter[str] = Counter()
    for (value, _), count in coincidences.items():
        totals[value] += count
    n = sum(totals.values())
    observed = sum(count for (one, other), count in coincidences.items() if one != other)
    expected = sum(totals[one] * totals[other] for one in totals for other in totals if one != other) / (n - 1)
    return 1 - observed / expected


@pytest.mark.parametrize("seed", range(5))
def test_alpha_with_missing_answers_and_ties(seed: int) -> None:
    chance = random.Random(seed)
    judgements = [
        verdict(item, f"reader {reader}", chance.choice(("a", "b", "tie", "a")))
        for item in range(30)
        for reader in range(4)
        if chance.random() < 0.7
    ]
    values: dict[int, list[str]] = defaultdict(list)
    for one in judgements:
        values[int(one.id)].append(str(one.winner))
    expected = alpha_by_definition({id: each for id, each in values.items() if len(each) > 1})
    assert measure_agreement(judgements).alpha == pytest.approx(expected, abs=1e-12)


def test_two_orders_of_a_judge_are_one_verdict_and_unreadable_answers_none() -> None:
    one = [verdict(1, "x", "a", "a"), verdict(1, "x", "b", "b"), verdict(2, "x", "a", "a"), verdict(2, "x", "a", "b")]
    other = [verdict(1, "y", "tie"), verdict(2, "y", "b"), verdict(3, "y", "b"), verdict(3, "x", None)]
    assert measure_agreement([*one, *other]) == measure_agreement(
        [verdict(1, "x", "tie"), verdict(2, "x", "a"), verdict(1, "y", "tie"), verdict(2, "y", "b")]
    )


@pytest.mark.parametrize(
    ("judgements", "items"),
    [([], 0), ([verdict(1, "x", "a"), verdict(2, "y", "b")], 0), ([verdict(1, "x", "a"), verdict(1, "y", "a")], 1)],
)
def test_alpha_is_undefined_without_two_verdicts(judgements: list[Judgement], items: int) -> None:
    assert measure_agreement(judgements) == Agreement(None, items, items)
