"""Joined results of points and variants, against means computed by hand."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from helpers.frontier_study import Planted, write_frontiers

from semalign_pl.study.frontier import compare
from semalign_pl.study.frontier_settings import FrontierSettings
from semalign_pl.study.joined import RunResults, join
from semalign_pl.study.systems import Study, System


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


def test_a_metric_without_a_value_in_a_seed_is_left_out() -> None:
    """A score of a test that is not finite is null in its file; it would end a finished study."""
    first, second = results_of(chrf=40.0, quiz=1.0), results_of(chrf=50.0, quiz=2.0)
    first["metrics"]["quiz"]["value"] = None
    results = {(0, "base"): curve(end=0.0), (0, "a"): {"end": first}, (1, "a"): {"end": second}}
    metrics = join([System("a", Path("a.yaml"), "base")], results, {})["a"]["metrics"]
    assert list(metrics) == ["chrf"] and metrics["chrf"]["seeds"] == [40.0, 50.0]


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


def test_a_swept_system_of_another_task_has_results_but_no_curve(tmp_path: Path) -> None:
    """Its only variant was tested on other items than the base, and no pair compares it."""
    points = {"end": Planted(60, 90, 0.2), "scale-0.5": Planted(30, 94, 0.1)}
    write_frontiers(tmp_path, {"a": points, "b": points})
    write_frontiers(tmp_path / "other", {"c.lr-1": points}, items=7)
    shutil.move(tmp_path / "other" / "seed-0" / "c.lr-1", tmp_path / "seed-0")
    systems = [System(name, Path("a.yaml"), "base") for name in "ab"]
    systems.append(System("c.lr-1", Path("a.yaml"), "base", sweep="c"))
    results = {(0, name): curve(end=50.0, scale_0=25.0) for name in ("base", "a", "b", "c.lr-1")}
    frontier, best = compare(Study(systems, FrontierSettings(compare=(("a", "b"),))), tmp_path, results, {})
    assert list(frontier["curves"]) == ["a", "b"]
    assert join(systems, results, best)["c"]["chosen"] == "c.lr-1"
