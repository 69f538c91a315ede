"""Charts and lists of the page: pixels, numbers and differences against values computed by hand."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.report_study import REWARDS, SYSTEMS, write_study, write_task

from semalign_pl.report import write_report
from semalign_pl.report.chart import Scale, colour_of, shape_of
from semalign_pl.report.drift_charts import TokenHistogram, drift_charts, read_histograms
from semalign_pl.report.files import read_logs
from semalign_pl.report.forward_kl import forward_kl_charts
from semalign_pl.report.frontier_chart import charts_by_task, frontier_charts
from semalign_pl.report.hypervolumes import list_areas
from semalign_pl.report.ledger_tables import read_ledger
from semalign_pl.report.measured_curves import read_curves
from semalign_pl.report.recipes import EvaluatedTask, differences, read_recipe, read_tasks
from semalign_pl.report.results import parse
from semalign_pl.report.samples import prediction_files, read_samples
from semalign_pl.report.tested import list_tested

MODULES = ("chart", "forward_kl", "json_values", "ledger_tables", "run_facts", "samples", "text_language")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def results(study: Path) -> dict:
    return json.loads((study / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(f"semalign_pl.report.{name}"))
    assert outcome.attempted and not outcome.failed


def test_a_scale_maps_its_ends_and_has_round_ticks() -> None:
    scale = Scale(-0.5, 2.0, 100, 600)
    assert [scale(-0.5), scale(0.75), scale(2.0)] == [100, 350, 600]
    assert scale.ticks() == [(100, "-0.5"), (200, "0.0"), (300, "0.5"), (400, "1.0"), (500, "1.5"), (600, "2.0")]
    assert [label for _, label in Scale(0, 77, 0, 1).ticks()] == ["0", "20", "40", "60"]


def test_marks_are_where_the_points_were_measured(results: dict) -> None:
    parsed = parse(results)
    measured = read_curves(results, parsed)
    assert (measured.quality, measured.costs) == ("chrf", ["cmrc_f1", "nll_change_mean"])
    for chart, cost in zip(frontier_charts(measured, parsed), measured.costs, strict=True):
        owners = [(mark.system, mark.point) for mark in chart.marks]
        trained = [(system, point) for system in ("strong_sft", "semantic_grpo") for point in SYSTEMS[system]]
        assert sorted(owners) == sorted([("cold_start", "end"), *trained])  # shared by both curves, drawn once
        for mark in chart.marks:
            entry = results["systems"][mark.system]
            metrics = next(one["metrics"] for one in entry["points"] if one["name"] == mark.point)
            lost = metrics[cost]["value"]
            if cost == "cmrc_f1":
                lost = results["systems"]["base"]["metrics"][cost]["value"] - lost
            x, y = map(float, re.match(r"M([\d.]+),([\d.]+)m", mark.path).groups())
            assert x == pytest.approx(chart.x(metrics["chrf"]["value"]), abs=0.11)
            assert y == pytest.approx(chart.y(lost), abs=0.11)


def test_qualities_on_two_test_sets_share_no_axis(study: Path, results: dict, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study, folder)
    write_task(folder, "headline", {"class_path": "semalign_pl.Headline", "init_args": {"language": "bo"}})
    two = {"systems": {**results["systems"], "headline": {"from": "cold_start", **results["systems"]["strong_sft"]}}}
    (folder / "results.json").write_text(json.dumps(two), encoding="utf-8")
    measured, trained = read_curves(two, parse(two)), ("base", *SYSTEMS)
    charts = charts_by_task(measured, parse(two), [("MT", trained), ("HG", ["headline"]), ("Other", [])])
    assert [chart.title for chart in charts] == [
        f"{task}: chrF against {cost}" for task in ("MT", "HG") for cost in ("CMRC F1 lost", "NLL change (nats/token)")
    ]
    assert [{mark.system for mark in chart.marks} for chart in charts] == [{*trained}] * 2 + [{"headline"}] * 2
    (alone,) = {chart.title.partition(" ")[0] for chart in charts_by_task(measured, parse(two), [("MT", trained)])}
    assert alone == "chrF", "a single task needs no name"
    page = write_report(folder).read_text(encoding="utf-8")
    assert page.count(">Headline (bo): chrF against ") == page.count(">Translation zh → bo: chrF against ") == 2
    pictures = [(folder / f"quality_against_tax{number}.png").read_bytes() for number in ("", "_2")]
    assert pictures[0] != pictures[1]


def test_the_base_model_is_no_mean_of_seeds(results: dict) -> None:
    near = json.loads(json.dumps(results))
    for curve in near["frontier"]["curves"].values():
        curve["quality"][curve["points"].index("base")] = [38.0, 38.0]
    for chart in frontier_charts(read_curves(near, parse(near)), parse(near)):
        (label,) = (mark.label for mark in chart.marks if mark.system == "base")
        assert label.startswith("Base: chrF 38.0, ") and "seeds" not in label
        assert all("(mean of 2 seeds)" in mark.label for mark in chart.marks if mark.system != "base")


def test_a_frontier_without_a_number_is_one_line(results: dict) -> None:
    broken = json.loads(json.dumps(results))
    broken["frontier"]["curves"]["strong_sft"]["quality"][0] = ["high"]
    with pytest.raises(ValueError, match=r"frontier\.curves is malformed .*'high' is no number.*Run the study again"):
        read_curves(broken, parse(broken))
    del broken["frontier"]["ledger"]["cmrc_em"]["comparisons"][0]["p_holm"]
    with pytest.raises(ValueError, match=r"frontier\.ledger is malformed .*p_holm"):
        read_ledger(broken, parse(broken))


def test_forward_kl_has_the_r_squared_of_all_points(results: dict) -> None:
    parsed = parse(results)
    measured = read_curves(results, parsed)
    charts = forward_kl_charts(results, measured, parsed)
    for (chart, r2), cost in zip(charts, measured.costs, strict=True):
        kl, lost = [], []
        for system in ("strong_sft", "semantic_grpo"):
            for one in results["systems"][system]["points"]:
                kl.append(one["metrics"]["forward_kl"]["value"])
                value = one["metrics"][cost]["value"]
                base = results["systems"]["base"]["metrics"][cost]["value"]
                lost.append(base - value if cost == "cmrc_f1" else value)
        assert len(chart.marks) == len(kl) == 10
        assert r2 == pytest.approx(np.corrcoef(kl, lost)[0, 1] ** 2)


def test_histograms_add_seeds_and_their_cdf_is_right(study: Path, results: dict) -> None:
    parsed = parse(results)
    histograms = read_histograms(study, parsed)
    assert [*histograms] == ["cold_start", "strong_sft", "semantic_grpo"]
    seeds = [json.loads((study / f"seed-{s}/strong_sft/results.json").read_text("utf-8")) for s in (0, 1)]
    counts = np.sum([one["histograms"]["nll_change"]["counts"] for one in seeds], 0)
    assert histograms["strong_sft"].counts == counts.tolist()
    assert len(drift_charts(histograms, parsed)) == 2
    small = TokenHistogram([0.0, 1.0, 2.0, 4.0], [1, 2, 1])
    assert small.cumulative == [0.0, 0.25, 0.75, 1.0]
    assert [small.quantile(share) for share in (0.25, 0.5, 0.9)] == [1.0, 2.0, 4.0]


def test_a_large_first_bin_is_drawn(results: dict) -> None:
    few = TokenHistogram([-1.0, 0.0, 1.0, 2.0], [0, 60, 40])
    assert (few.start(0.001), few.start(0.6), few.start(1.0)) == (0.0, 1.0, 2.0)
    bars, cdf = drift_charts({"strong_sft": few}, parse(results))
    corners = [tuple(map(float, point.split(","))) for point in cdf.lines[0][1].split()]
    assert corners == [(cdf.left, cdf.bottom), (cdf.x(1), cdf.y(0.6)), (cdf.right, cdf.top)]
    assert len(bars.lines[0][1].split()) == 4  # both bins


def test_seeds_of_an_earlier_larger_study_are_left_out(study: Path, results: dict, tmp_path: Path) -> None:
    root, parsed = tmp_path / "study", parse(results)
    shutil.copytree(study, root)
    shutil.copytree(root / "seed-1", root / "seed-2")
    points = root / "seed-2" / "strong_sft" / "points"
    (points / "scale-0.5").rename(points / "scale-0.9")
    assert read_histograms(root, parsed) == read_histograms(study, parsed)
    assert [*read_logs(root, "semantic_grpo", parsed.seeds)] == ["seed-0", "seed-1"]
    assert read_samples(root, results, parsed, {}) == read_samples(study, results, parsed, {})
    assert len(read_logs(root, "semantic_grpo")) == 3 and [*prediction_files(root, "strong_sft", ["scale-0.9"])]


def test_points_of_an_earlier_frontier_are_left_out(study: Path, results: dict, tmp_path: Path) -> None:
    root, parsed = tmp_path / "study", parse(results)
    shutil.copytree(study, root)
    for name in ("scale-0.25", "step-80"):
        shutil.copytree(root / "seed-0/strong_sft/points/scale-0.5", root / "seed-0/strong_sft/points" / name)
    assert read_samples(root, results, parsed, {}) == read_samples(study, results, parsed, {})


def test_two_callbacks_of_one_class_are_told_apart() -> None:
    def recipe(*words: int) -> dict:
        reward = [{"class_path": "semalign_pl.LengthReward", "init_args": {"words": each}} for each in words]
        return {"trainer": {"callbacks": reward}}

    assert [(one.key, one.base, one.own) for one in differences(recipe(1, 2, 5), recipe(3, 2, 4))] == [
        ("trainer.callbacks.LengthReward.words", "1", "3"),
        ("trainer.callbacks.LengthReward#3.words", "5", "4"),
    ]


def test_no_two_of_twelve_systems_look_alike() -> None:
    parsed = parse({"systems": {name: {} for name in ("cold_start", "strong_sft", "semantic_grpo", *"abcdefghi")}})
    looks = {(colour_of(system, parsed), shape_of(system, parsed)) for system in parsed.systems}
    assert len(looks) == 12


def test_a_start_that_is_a_variant_has_its_systems_mark(results: dict) -> None:
    swept = json.loads(json.dumps(results))
    swept["systems"]["cold_start"]["chosen"] = "cold_start.lr-0.1"
    for curve in swept["frontier"]["curves"].values():
        curve["points"] = ["cold_start.lr-0.1" if name == "cold_start" else name for name in curve["points"]]
    marks, expected = (
        [chart.marks for chart in frontier_charts(read_curves(each, parse(each)), parse(each))]
        for each in (swept, results)
    )
    assert marks == expected


def test_recipes_name_the_task_and_what_differs(study: Path, results: dict) -> None:
    parsed = parse(results)
    task = EvaluatedTask("Translation zh → bo", "test.jsonl", "bo")
    assert read_tasks(study, parsed) == dict.fromkeys(parsed.systems, task)
    base, own = (read_recipe(study, system, ("fit.yaml",)) for system in ("cold_start", "semantic_grpo"))
    assert {(one.key, one.base, one.own) for one in differences(base, own)} == {
        ("trainer.callbacks.SemanticReward.class_path", "–", "semalign_pl.rewards.SemanticReward"),
        ("trainer.callbacks.SemanticReward.weight", "–", "1.5"),
        ("trainer.max_steps", "400", "120"),
        ("model.class_path", "semalign_pl.SFTModule", "semalign_pl.GRPOModule"),
        ("model.beta", "–", "0.04"),
    }


def test_rewards_and_the_metrics_that_they_saw(study: Path, results: dict) -> None:
    parsed = parse(results)
    tested = {one.title: one for one in list_tested(study, results, parsed, {})}
    assert tested["Semantic GRPO"].rewards == [
        (REWARDS[0], "Semantic similarity"),
        (REWARDS[1], "Language consistency"),
    ]
    similarity = {"value": 0.5, "ci": None, "signature": "semantic_similarity|encoder:world/other@abc"}
    systems = {**results["systems"], "semantic_grpo": {"metrics": {"semantic_similarity": similarity}}}
    other = {**results, "systems": systems}
    saw = [metric for one in list_tested(study, other, parse(other), {}) for _, metric in one.rewards]
    assert saw == ["", "Language consistency"]  # similarity is measured by another encoder than the reward's
    assert tested["Strong SFT"].rewards == [] and tested["Strong SFT"].points[0] == "step-20"
    assert [one.title for one in list_areas(results, parsed, ["cmrc_f1"])] == ["Strong SFT", "Semantic GRPO"]


def test_a_swept_system_is_read_from_its_best_variant(study: Path, results: dict, tmp_path: Path) -> None:
    root = tmp_path / "swept"
    (root / "seed-0").mkdir(parents=True)
    (root / "seed-0" / "strong_sft.lr-0.1").symlink_to(study / "seed-0" / "strong_sft")
    entry = {**results["systems"]["strong_sft"], "chosen": "strong_sft.lr-0.1"}
    swept = {"systems": {"strong_sft": entry}}
    parsed = parse(swept)
    files = prediction_files(root, parsed.folder_of("strong_sft"), SYSTEMS["strong_sft"])
    assert [*files] == ["end", "step-20", "step-60", "step-100", "scale-0.5"]
    (group,) = read_samples(root, swept, parsed, {}).data["groups"]
    assert [one["name"] for one in group["systems"]] == ["strong_sft"]
