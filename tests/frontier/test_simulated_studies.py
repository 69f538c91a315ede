"""Verdicts on simulated studies whose truth is known: 5 seeds, 200 questions, from items through curves to outcomes."""

import numpy as np
from helpers.simulated_study import SimulatedStudy, tax

from semalign_pl.frontier.comparison import Settings, compare
from semalign_pl.frontier.entry import VerdictEntry

FEW = slice(3, None)
"""End and scales only: a system without kept steps."""


def outcomes(study: SimulatedStudy, **systems) -> list[VerdictEntry]:
    """Verdicts on two systems: over the common range, and at one quality."""
    names = {name: [name] for name in systems}
    frontier = compare(study.base, systems, names, {}, Settings(draws=100))
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
