"""Joined results of points and variants, against means computed by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from semalign_pl.study.joined import RunResults, join
from semalign_pl.study.systems import System


def results_of(**values: float) -> RunResults:
    return {
        "metrics": {name: {"value": value, "ci": [0.0, value], "signature": "s"} for name, value in values.items()},
        "run": {},
    }


def curve(**chrf: float) -> Mapping[str, RunResults]:
    """Points with their chrF, in this order."""
    return {name.replace("_", "-"): results_of(chrf=value, cmrc_f1=100 - value) for name, value in chrf.items()}


def test_points_are_means_over_seeds_in_the_order_of_the_curve() -> None:
    results = {
        (0, "base"): curve(end=0.0),
        (1, "a"): curve(step_40=20.0, end=50.0, scale_0=6.0),
        (0, "a"): curve(step_40=10.0, end=40.0, scale_0=4.0),
    }
    joined = join([System("a", Path("a.yaml"), "base")], results, {})
    assert "points" not in joined["base"]
    points = joined["a"]["points"]
    assert [point["name"] for point in points] == ["step-40", "end", "scale-0"]
    assert [point["metrics"]["chrf"]["value"] for point in points] == [15.0, 45.0, 5.0]
    assert [point["metrics"]["cmrc_f1"]["seeds"] for point in points] == [[90.0, 80.0], [60.0, 50.0], [96.0, 94.0]]
    assert points[0]["metrics"]["chrf"] == {"value": 15.0, "ci": [0.0, 15.0], "signature": "s", "seeds": [10.0, 20.0]}
    assert joined["a"]["metrics"] == points[1]["metrics"], "a system's own metrics are those of its end"


def test_a_point_that_a_seed_lacks_is_left_out() -> None:
    results = {(0, "base"): curve(end=0.0), (0, "a"): curve(end=1.0, scale_0=2.0), (1, "a"): curve(end=3.0)}
    assert "points" not in join([System("a", Path("a.yaml"), "base")], results, {})["a"]


@pytest.mark.parametrize("chosen", ["a.lr-1", "a.lr-2"])
def test_a_swept_system_has_the_results_of_the_chosen_variant_and_reports_all(chosen: str) -> None:
    systems = [
        System(f"a.lr-{n}", Path("a.yaml"), "base", "Mine", "a", ("--model.init_args.optimizer.init_args.lr", str(n)))
        for n in (1, 2)
    ]
    systems.append(System("b", Path("b.yaml"), "a.lr-2"))
    values = {"a.lr-1": 10.0, "a.lr-2": 30.0}
    results = {(0, "base"): curve(end=0.0), (0, "b"): curve(end=1.0)}
    results |= {(0, name): curve(end=value, scale_0=value / 2) for name, value in values.items()}
    joined = join(systems, results, {"a": chosen})
    assert list(joined) == ["base", "a", "b"]
    a = joined["a"]
    assert (a["from"], a["label"], a["chosen"], joined["b"]["from"]) == ("base", "Mine", chosen, "a")
    assert a["metrics"]["chrf"]["value"] == values[chosen]
    assert [point["metrics"]["chrf"]["value"] for point in a["points"]] == [values[chosen], values[chosen] / 2]
    assert {name: one["metrics"]["chrf"]["value"] for name, one in a["variants"].items()} == values
    assert [len(one["points"]) for one in a["variants"].values()] == [2, 2]
