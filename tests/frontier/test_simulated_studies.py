"""Verdicts on simulated studies whose truth is known: 5 seeds, 200 questions, from items through curves to outcomes."""

from typing import Any

import numpy as np
import pytest
from helpers.simulated_study import LEVELS, PATH, SimulatedStudy, tax

from semalign_pl.frontier.comparison import Settings, compare
from semalign_pl.frontier.entry import VerdictEntry

END, ENDS_LOWER = PATH.index("end"), (50.0, 55.0, 60.0, 64.0, 55.0, 40.0, 15.0, 0.0)


def outcomes(study: SimulatedStudy, **systems) -> list[VerdictEntry]:
    """Verdicts on two systems: over the common range, and at one quality."""
    names = {name: [name] for name in systems}
    frontier = compare(study.base, systems, names, {}, Settings(draws=60))
    assert [verdict["quality"] is None for verdict in frontier["verdicts"]] == [True, False]
    return frontier["verdicts"]


def test_equal_systems_are_not_distinguishable() -> None:
    rng, told_apart = np.random.default_rng(1), np.zeros(2)
    for _ in range(200):
        study = SimulatedStudy(rng)
        verdicts = outcomes(study, a=study.system(), b=study.system())
        told_apart += [verdict["outcome"] in "ab" for verdict in verdicts]
        assert all(verdict["outcome"] != "no common range" for verdict in verdicts)
    assert (told_apart / 200 <= 0.07).all()


@pytest.mark.parametrize(
    ("luck", "other"),
    [
        ({"quality_luck": 4.0, "cost_luck": 0.3}, {}),
        ({"quality_luck": 0.0, "cost_luck": 0.0}, {}),
        ({"seeds": 3}, {"levels": ENDS_LOWER}),
        ({}, {"levels": LEVELS[END:], "path": PATH[END:]}),  # scales only: half as many points, and one branch
    ],
)
def test_equal_systems_that_differ_in_points_and_noise(luck: dict[str, float], other: dict[str, Any]) -> None:
    rng, told_apart = np.random.default_rng(4), np.zeros(2)
    for _ in range(40):
        study = SimulatedStudy(rng, **luck)
        told_apart += [v["outcome"] in "ab" for v in outcomes(study, a=study.system(), b=study.system(**other))]
    assert (told_apart / 40 <= 0.1).all()


def test_a_planted_system_above_another_is_found() -> None:
    rng, found = np.random.default_rng(2), np.zeros(2)
    for _ in range(20):
        study = SimulatedStudy(rng)
        found += [v["outcome"] == "a" for v in outcomes(study, a=study.system(lambda q: tax(q) / 2), b=study.system())]
    assert (found / 20 >= 0.9).all()


def test_systems_that_share_no_quality_get_no_verdict() -> None:
    study = SimulatedStudy(np.random.default_rng(3))
    low = study.system(levels=(30.0, 38.0, 41.0), path=("step-1", "end", "scale-0.5"))
    high = study.system(levels=(60.0, 70.0, 74.0), path=("step-1", "end", "scale-0.5"))
    frontier = compare(study.base, {"a": low, "b": high}, {"a": ["a"], "b": ["b"]}, {}, Settings())
    assert [verdict["outcome"] for verdict in frontier["verdicts"]] == ["no common range"]
