"""Points of a system: their order, their terms, and the folders and settings that belong to them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from semalign_pl.frontier.points import Point, points_of, scale_point


@pytest.fixture
def run(sft_adapter: str, tmp_path: Path) -> Path:
    """Folder of a run of 150 steps from another adapter, with every fiftieth step and two other folders."""
    run = tmp_path / "run"
    for folder in ("adapter", *(f"steps/step-{n}" for n in ("000000", "000050", "000100", "000150", "x")), "steps/old"):
        shutil.copytree(sft_adapter, run / folder)
    facts = {"steps": 150, "started_from": "../../start/adapter"}
    (run / "adapter" / "training.json").write_text(json.dumps(facts), encoding="utf-8")
    shutil.copytree(sft_adapter, tmp_path / "start" / "adapter")
    return run


def test_neighbours_in_the_list_are_neighbours_on_the_path(run: Path) -> None:
    """From the start through the steps to the end, then back by scales; the last step and scale 1 are the end."""
    points = points_of(str(run / "adapter"), [0.25, 1.0, 0.5, 0.5, 0.0], run / "steps")
    assert [point.name for point in points] == [
        "step-0",
        "step-50",
        "step-100",
        "end",
        "scale-0.5",
        "scale-0.25",
        "scale-0",
    ]
    assert points[1].terms == ((str(run / "steps" / "step-000050"), 1.0),)
    assert points[4].terms == ((str(run / "adapter"), 0.5),)
    assert points[4].settings == {"adapter": str(run / "adapter"), "adapter_scale": 0.5, "scale_from": "base"}
    assert [point.folder(run) for point in (points[3], points[4])] == [run, run / "points" / "scale-0.5"]


@pytest.mark.parametrize("named", [True, False])
def test_a_scale_may_begin_at_the_adapter_that_was_trained_on(run: Path, tmp_path: Path, named: bool) -> None:
    """It is the one that ``training.json`` names, or a folder that the user names."""
    adapter, start = str(run / "adapter"), str(tmp_path / "start" / "adapter")
    scale_from = start if named else "start"
    assert scale_point(adapter, 0.25, scale_from).terms == ((start, 0.75), (adapter, 0.25))
    assert scale_point(adapter, 0.0, scale_from).terms == ((start, 1.0),)
    settings = {"adapter": adapter, "adapter_scale": 0.25, "scale_from": scale_from}
    assert scale_point(adapter, 0.25, scale_from).settings == settings


def test_the_base_is_a_point_without_terms() -> None:
    assert Point("base", ()).settings == {"adapter": None, "adapter_scale": 1.0, "scale_from": "base"}


@pytest.mark.parametrize("scale", [-0.1, 1.5, float("nan")])
def test_a_scale_outside_0_to_1_is_refused(sft_adapter: str, scale: float) -> None:
    with pytest.raises(ValueError, match=r"--scales: .* is outside 0 to 1"):
        points_of(sft_adapter, [0.5, scale], None)
