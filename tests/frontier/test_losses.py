"""Losses with their bounds, against hand-computed means and scipy's bootstrap."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from semalign_pl.frontier.losses import PointResult, check_metrics, losses

FORMULAS = {"cmrc_f1": "mean", "nll_change_mean": "ratio"}


def write(
    folder: Path, statistics: Mapping[str, Sequence[Sequence[float]]], ids: Sequence[str] | None = None
) -> PointResult:
    """Write the result of a test: statistics of the items by metric."""
    folder.mkdir()
    metrics = {
        name: {"value": 0.0, "ci": None, "signature": "", "items": name, "formula": FORMULAS[name]}
        for name in statistics
    }
    metrics["nll_change_p90"] = {"value": 0.0, "ci": None, "signature": "", "items": None, "formula": None}
    (folder / "results.json").write_text(json.dumps({"metrics": metrics}), encoding="utf-8")
    lines = []
    for name, rows in statistics.items():
        for place, row in enumerate(rows):
            item = {
                "set": name,
                "id": ids[place] if ids else f"q{place}",
                "statistics": {name: list(row)},
                "text": None,
            }
            lines.append(json.dumps({**item, "system": "run", "point": "end"}) + "\n")
    (folder / "items.jsonl").write_text("".join(lines), encoding="utf-8")
    return PointResult(folder)


def test_hand_computed(tmp_path: Path) -> None:
    base = write(tmp_path / "base", {"cmrc_f1": [[100], [50], [0]], "nll_change_mean": [[0, 4], [0, 6]]})
    point = write(tmp_path / "point", {"cmrc_f1": [[40], [50], [30]], "nll_change_mean": [[1, 4], [4, 6]]})
    lost = losses(base, point, ["cmrc_f1", "nll_change_mean"], 0.95)
    assert lost["cmrc_f1"].value == pytest.approx(10) and lost["cmrc_f1"].items == 3  # (60 + 0 - 30) / 3
    assert lost["nll_change_mean"].value == pytest.approx(0.5) and lost["nll_change_mean"].items == 2  # 5 of 10 tokens
    gained = losses(point, base, ["cmrc_f1"], 0.95)["cmrc_f1"]
    assert gained.value == pytest.approx(-10)


def test_bound_of_a_mean_against_scipy(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    before = random.choice([0.0, 50.0, 100.0], 150, p=[0.1, 0.1, 0.8])
    after = np.where(random.random(150) < 0.2, 0.0, before)
    base = write(tmp_path / "base", {"cmrc_f1": before[:, None].tolist()})
    point = write(tmp_path / "point", {"cmrc_f1": after[:, None].tolist()})
    lost = losses(base, point, ["cmrc_f1"], 0.95)["cmrc_f1"]
    oracle = stats.bootstrap((before - after,), np.mean, confidence_level=0.9, method="percentile", n_resamples=20000)
    assert lost.value == pytest.approx((before - after).mean())
    assert lost.bound == pytest.approx(oracle.confidence_interval.high, abs=0.4) and lost.bound > lost.value + 2
    middle = losses(base, point, ["cmrc_f1"], 0.5)["cmrc_f1"]
    assert middle.bound == pytest.approx(lost.value, abs=0.5)


def test_only_items_that_differ_add_to_the_bound(tmp_path: Path) -> None:
    before = np.random.default_rng(2).uniform(5, 100, 40)
    base = write(tmp_path / "base", {"cmrc_f1": before[:, None].tolist()})
    point = write(tmp_path / "point", {"cmrc_f1": (before - 3)[:, None].tolist()})
    lost = losses(base, point, ["cmrc_f1"], 0.99)["cmrc_f1"]
    assert lost.bound == pytest.approx(3) and lost.value == pytest.approx(3)


def test_items_are_matched_by_id(tmp_path: Path) -> None:
    base = write(tmp_path / "base", {"cmrc_f1": [[100], [0]]}, ids=["a", "b"])
    point = write(tmp_path / "point", {"cmrc_f1": [[0], [100]]}, ids=["b", "a"])
    assert losses(base, point, ["cmrc_f1"], 0.95)["cmrc_f1"].bound == 0
    other = write(tmp_path / "other", {"cmrc_f1": [[0], [100]]}, ids=["b", "c"])
    with pytest.raises(ValueError, match=r"other/items.jsonl: cmrc_f1 was measured on other items than in .*base"):
        losses(base, other, ["cmrc_f1"], 0.95)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("cmrc_f2", "--lose: nothing in the recipe measures 'cmrc_f2'; did you mean cmrc_f1?.*list a probe for it"),
        ("xyz", r"'xyz'; there is cmrc_f1, nll_change_mean\. Otherwise list a probe"),
        ("nll_change_p90", "--lose: nll_change_p90 is no sum over items.*name one of cmrc_f1, nll_change_mean"),
    ],
)
def test_unknown_metrics(tmp_path: Path, metric: str, message: str) -> None:
    base = write(tmp_path / "base", {"cmrc_f1": [[1]], "nll_change_mean": [[1, 1]]})
    check_metrics(base, ["cmrc_f1", "nll_change_mean"], "--lose")
    with pytest.raises(ValueError, match=message):
        check_metrics(base, [metric], "--lose")


def test_an_answer_may_have_any_line_separator_in_it(tmp_path: Path) -> None:
    """JSON text keeps U+2028 and U+0085 as they are, and ``str.splitlines`` would cut a row there."""
    base = write(tmp_path / "base", {"cmrc_f1": [[100], [0]]})
    rows = (base.folder / "items.jsonl").read_text(encoding="utf-8")
    (base.folder / "items.jsonl").write_text(rows.replace("null", '"one\u2028two\x85three"'), encoding="utf-8")
    point = write(tmp_path / "point", {"cmrc_f1": [[40], [0]]})
    assert losses(PointResult(base.folder), point, ["cmrc_f1"], 0.95)["cmrc_f1"].value == 30


def test_an_item_without_a_number_is_one_line(tmp_path: Path) -> None:
    """``results.json`` and ``items.jsonl`` have null for a value that is not finite."""
    base = write(tmp_path / "base", {"cmrc_f1": [[100], [0]]})
    point = write(tmp_path / "point", {"cmrc_f1": [[40], [0]]})
    rows = (point.folder / "items.jsonl").read_text(encoding="utf-8")
    (point.folder / "items.jsonl").write_text(rows.replace("[40]", "[null]"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"point/items.jsonl: items cmrc_f1 have no list of finite numbers.*cmrc_f1"):
        losses(base, PointResult(point.folder), ["cmrc_f1"], 0.95)


@pytest.mark.parametrize("order", [1, -1])
def test_a_resample_without_a_value_is_refused(tmp_path: Path, order: int) -> None:
    """A ratio over items of which few count: a resample of the others alone is 0 / 0."""
    counting = [[10, 10]] * 3 + [[0, 0]] * 47
    base = write(tmp_path / "base", {"cmrc_f1": [[80]] * 50, "nll_change_mean": counting})
    point = write(tmp_path / "point", {"cmrc_f1": [[80]] * 50, "nll_change_mean": [[0, b] for _, b in counting]})
    names = ["cmrc_f1", "nll_change_mean"][::order]
    message = r"point: nll_change_mean has no value in \d+ of 2000 resamples of its 50 items; name another metric, or"
    with pytest.raises(ValueError, match=message):
        losses(base, point, names, 0.95)
