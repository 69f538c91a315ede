"""Comparison of a study's systems: hand-computed curves from real files, and refusals of unfair comparisons."""

import json
import math
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.frontier_study import SIGNATURES, Planted, write_frontiers, write_json, write_run

from semalign_pl.frontier.comparison import Settings, compare_study
from semalign_pl.frontier.entry import FrontierEntry
from semalign_pl.frontier.measured_point import MeasuredMetric, MeasuredPoint
from semalign_pl.frontier.measured_study import curve_order, read_study
from semalign_pl.frontier.resampled import Resampled
from semalign_pl.frontier.seen import seen_by
from semalign_pl.frontier.verdicts import readable_quality
from semalign_pl.toy.generator import SPLITS, unique
from semalign_pl.toy.meaning_scores import AnyStyleChrF
from semalign_pl.toy.style import wordings

SFT = {"end": Planted(64, 56, 0.4), "scale-0.5": Planted(48, 76, 0.1)}
GRPO = {"end": Planted(64, 72, 0.2), "scale-0.5": Planted(32, 88, 0.1)}
VARIANTS = {"strong_sft": ["strong_sft"], "semantic_grpo": ["semantic_grpo"]}
STARTS = {"strong_sft": "cold_start", "semantic_grpo": "cold_start"}


def entry(frontier: FrontierEntry, metric: str, *, mean: bool):
    """Verdict on one metric of the only pair."""
    return next(v for v in frontier["verdicts"] if v["metric"] == metric and (v["quality"] is None) == mean)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One seed, with costs by quality of SFT 0: 0, 48: 20, 64: 40, and of GRPO 0: 0, 32: 8, 64: 24, in F1."""
    return write_frontiers(tmp_path / "study", {"strong_sft": SFT, "semantic_grpo": GRPO})


def test_curves_and_differences_by_hand(folder: Path) -> None:
    frontier = compare_study(folder, VARIANTS, STARTS, Settings(at=(60,)))
    assert frontier["quality"] == "chrf" and frontier["costs"] == ["cmrc_f1", "nll_change_mean"]
    sft = frontier["curves"]["strong_sft"]
    assert sft["points"] == ["end", "scale-0.5", "base"]
    assert sft["quality"] == [[pytest.approx(q)] for q in (64, 48, 0)]
    assert sft["costs"]["cmrc_f1"] == [[pytest.approx(c)] for c in (40, 20, 0)]
    assert sft["reach"] == pytest.approx([0, 64])
    mean = entry(frontier, "cmrc_f1", mean=True)
    # SFT: 10 on average over 48 and 30 over 16, so 15. GRPO: 4 over 32 and 16 over 32, so 10.
    assert mean["difference"] == pytest.approx(5) and mean["range"] == pytest.approx([0, 64])
    at = entry(frontier, "cmrc_f1", mean=False)
    assert at["quality"] == 60 and at["difference"] == pytest.approx(35 - 22)
    assert (at["seeds"], at["items"], at["item_set"], at["less_is_better"]) == (1, 25, "cmrc", False)
    nll = entry(frontier, "nll_change_mean", mean=False)
    assert nll["difference"] == pytest.approx((0.1 + 0.3 * 12 / 16) - (0.1 + 0.1 * 28 / 32))
    # All texts change equally, so the only uncertainty is that of the line of SFT from 48 to 64: the line before it is
    # at 0.125 at 60, 0.2 lower.
    assert nll["ci"] == pytest.approx([0.1375 - 1.96 * 0.2 / 3**0.5, 0.1375 + 1.96 * 0.2 / 3**0.5], rel=1e-3)
    assert nll["less_is_better"] and nll["outcome"] == "not distinguishable"


def test_the_interval_of_one_seed_is_that_of_the_paired_questions(folder: Path) -> None:
    at = compare_study(folder, VARIANTS, STARTS, Settings(at=(64,)))["verdicts"][1]
    # At 64 SFT has 14 questions right and GRPO 18: four questions differ, by 100 each.
    assert at["difference"] == pytest.approx(16)
    sd = math.sqrt((4 / 25) * (1 - 4 / 25)) * 100 / math.sqrt(25)
    assert (at["ci"][1] - at["ci"][0]) / 2 == pytest.approx(1.96 * sd, rel=0.1)
    assert at["p"] == pytest.approx(2 * (1 - 0.5 * (1 + math.erf(16 / sd / math.sqrt(2)))), rel=0.5)


def test_holm_is_over_the_metrics_and_stated_qualities_are_another_family(folder: Path) -> None:
    frontier = compare_study(folder, VARIANTS, STARTS, Settings(costs=("cmrc_f1", "cmrc_em"), at=(40, 60)))
    for mean, count in ((True, 2), (False, 4)):
        family = [v for v in frontier["verdicts"] if (v["quality"] is None) == mean]
        assert len(family) == count
        smallest = min(family, key=lambda v: v["p"])
        assert smallest["p_holm"] == pytest.approx(min(1, count * smallest["p"]))


def test_without_a_common_range_there_is_no_verdict(tmp_path: Path) -> None:
    low = {"end": Planted(60, 80), "scale-0.5": Planted(48, 90)}
    high = {"end": Planted(77, 60), "scale-0.5": Planted(62, 70)}
    folder = write_frontiers(tmp_path, {"a": low, "b": high, "cold": {"end": Planted(62, 80)}})
    settings = Settings(scale_from="folder/adapter", at=(61,))  # an adapter that was not tested: no scale 0
    frontier = compare_study(folder, {"a": ["a"], "b": ["b"]}, {}, settings)
    for verdict in frontier["verdicts"]:
        assert verdict["outcome"] == "no common range"
        assert verdict["difference"] is None and verdict["ci"] is None and verdict["p"] is None
        assert verdict["reach"] == [pytest.approx([48, 60]), pytest.approx([62, 77])]
    assert frontier["hypervolumes"]["a"]["cmrc_f1"]["value"] > 0


def test_bands_and_hypervolumes(folder: Path) -> None:
    frontier = compare_study(folder, VARIANTS, STARTS)
    band = frontier["curves"]["semantic_grpo"]["bands"]["cmrc_f1"]
    assert len(band) == 25 and band[0]["quality"] == 0 and band[-1]["quality"] == pytest.approx(64)
    at_32 = next(point for point in band if point["quality"] == pytest.approx(32))
    assert at_32["cost"] == pytest.approx(8) and at_32["ci"][0] < 8 < at_32["ci"][1]
    # The reference point is quality 0 and cost 40. GRPO: 32 x (40 - 8) + 32 x (40 - 24); SFT: 48 x (40 - 20).
    assert frontier["hypervolume_reference"]["cmrc_f1"] == pytest.approx([0, 40])
    assert frontier["hypervolumes"]["semantic_grpo"]["cmrc_f1"]["value"] == pytest.approx(32 * 32 + 32 * 16)
    volume = frontier["hypervolumes"]["strong_sft"]["cmrc_f1"]
    assert volume["value"] == pytest.approx(48 * 20) and volume["ci"][0] < 960 < volume["ci"][1]


def test_the_path_is_start_steps_end_scales_and_base(tmp_path: Path) -> None:
    grpo = {**GRPO, "step-100": Planted(60, 76), "step-20": Planted(56, 80)}
    folder = write_frontiers(tmp_path, {"grpo": grpo, "cold": {"end": Planted(50, 84)}}, seeds=2)
    curve = compare_study(folder, {"grpo": ["grpo"]}, {"grpo": "cold"})["curves"]["grpo"]
    assert curve["points"] == ["cold", "step-20", "step-100", "end", "scale-0.5", "base"]
    assert [seeds[0] for seeds in curve["quality"]] == pytest.approx([50, 56, 60, 64, 32, 0])
    from_start = compare_study(folder, {"grpo": ["grpo"]}, {"grpo": "cold"}, Settings(scale_from="start"))
    assert from_start["curves"]["grpo"]["points"][-1] == "cold"
    # The cheaper of both branches counts: at 60, step-100 costs 20 and the way down 22.
    band = {round(p["quality"], 6): p["cost"] for p in curve["bands"]["cmrc_f1"]}
    assert curve["reach"] == pytest.approx([0, 64]) and band[56.0] == pytest.approx(16)


@pytest.mark.parametrize(
    ("file", "content", "scale_from", "path"),
    [
        ("training.json", {"started_from": "cold"}, "base", ["cold", "step-20", "end", "scale-0.5", "base"]),
        ("training.json", {"started_from_scale": {}}, "base", ["step-20", "end", "scale-0.5", "base"]),
        ("training.json", {"started_from_scale": {}}, "start", ["step-20", "end", "scale-0.5"]),
        ("adapter_config.json", {"trainable_token_indices": [9]}, "base", ["cold", "step-20", "end", "scale-0.5"]),
        ("adapter_config.json", {"r": 8}, "start", ["cold", "step-20", "end", "scale-0.5", "cold"]),
    ],
)
def test_a_path_ends_before_a_system_that_is_not_on_it(
    tmp_path: Path, file: str, content: dict, scale_from: str, path: list[str]
) -> None:
    """The start is not if training scaled it, nor is the base if new tokens split texts in another way."""
    systems = {"grpo": {**GRPO, "step-20": Planted(56, 80)}, "cold": {"end": Planted(50, 84)}}
    folder = write_frontiers(tmp_path, systems)
    write_json(folder / "seed-0" / "grpo" / "adapter" / file, content)
    curve = compare_study(folder, {"grpo": ["grpo"]}, {"grpo": "cold"}, Settings(scale_from=scale_from))["curves"][
        "grpo"
    ]
    assert curve["points"] == path


def test_the_best_variant_of_a_sweep_is_the_curve(folder: Path) -> None:
    for name, f1 in (("strong_sft.lr-1", 40), ("strong_sft.lr-2", 64)):
        for point, planted in SFT.items():
            place = folder / "seed-0" / name / ("" if point == "end" else f"points/{point}")
            write_run(place, Planted(planted.chrf, f1 if point == "end" else planted.f1))
    variants = {**VARIANTS, "strong_sft": ["strong_sft.lr-1", "strong_sft.lr-2"]}
    frontier = compare_study(folder, variants, STARTS)
    assert frontier["curves"]["strong_sft"]["variant"] == "strong_sft.lr-2"
    assert list(frontier["sweeps"]) == ["strong_sft"]
    sweep = frontier["sweeps"]["strong_sft"]
    assert sweep["strong_sft.lr-1"]["costs"]["cmrc_f1"][0] == pytest.approx([56])
    assert {(v["a"], v["b"]) for v in frontier["verdicts"]} == {("strong_sft", "semantic_grpo")}


def test_a_seed_shifts_a_whole_curve(tmp_path: Path) -> None:
    folder = write_frontiers(tmp_path, {"strong_sft": SFT, "semantic_grpo": GRPO}, seeds=5, spread=2.0, items=50)
    at = entry(compare_study(folder, VARIANTS, STARTS), "cmrc_f1", mean=False)
    one = entry(compare_study(folder, VARIANTS, STARTS, seeds=[0]), "cmrc_f1", mean=False)
    assert at["seeds"] == 5 and one["seeds"] == 1
    assert at["ci"][0] < at["difference"] < at["ci"][1]


def test_a_reward_that_saw_the_quality_is_refused_or_named(tmp_path: Path) -> None:
    reward = "reward:chrf|weight:1|nc:6|nw:2"
    folder = write_frontiers(tmp_path, {"strong_sft": SFT, "semantic_grpo": GRPO}, rewards={"semantic_grpo": [reward]})
    with pytest.raises(ValueError, match=r"frontier\.quality: chrf is not independent.*reward:chrf.*semantic_grpo"):
        compare_study(folder, VARIANTS, STARTS)
    frontier = compare_study(folder, VARIANTS, STARTS, Settings(quality="chrf"))
    assert frontier["quality_seen_by"] == {"semantic_grpo": [reward]}
    assert frontier["seen_by_rewards"] == {"strong_sft": [], "semantic_grpo": [reward]}


def test_rewards_of_the_start_count_too(tmp_path: Path) -> None:
    systems = {"a": SFT, "b": GRPO, "first": {"end": Planted(40, 90)}}
    folder = write_frontiers(tmp_path, systems, rewards={"first": ["reward:bleu4|weight:1"], "b": ["reward:length"]})
    frontier = compare_study(folder, {"a": ["a"], "b": ["b"]}, {"b": "first", "first": "base"})
    assert frontier["seen_by_rewards"] == {"a": [], "b": ["reward:length", "reward:bleu4|weight:1"]}


SIMILARITY = "similarity:cosine|encoder:e5@cb3793dc|pooling:mean"


@pytest.mark.parametrize(
    ("metric", "signature", "reward", "saw"),
    [
        ("bleu4", "nrefs:1", "reward:bleu4|weight:1|nrefs:1", True),
        ("chrf", "nrefs:1", "reward:bleu4|weight:1|nrefs:1", False),
        ("semantic_similarity", SIMILARITY, "reward:semantic|weight:1.5|encoder:models/e5|tau:0|anchor:zh", True),
        ("semantic_similarity", SIMILARITY, "reward:semantic|weight:1.5|encoder:models/labse|tau:0", False),
        ("semantic_similarity", SIMILARITY, "reward:semantic|encoder:reward/e5@0123abcd|tau:0", False),
        ("semantic_similarity", SIMILARITY, "reward:semantic|encoder:reward/copy@cb3793dc|tau:0", True),
        ("language_consistency", "consistency", "reward:language|gate|language:bo|rule:2", True),
        ("chrf", "nrefs:1", "reward:semantic|weight:1.5|encoder:models/e5|tau:0", False),
        ("judge_win", "judges:gpt,m@host", "reward:judge|weight:1|judge:m@http://host/v1|rubric:headline", True),
        ("judge_win", "judges:gpt", "reward:judge|weight:1|judge:world/judge@local|rubric:headline", False),
        ("judge_win", "judges:judge", "reward:judge|weight:1|judge:world/judge@local|rubric:headline", True),
    ],
)
def test_what_a_reward_saw(metric: str, signature: str, reward: str, saw: bool) -> None:
    assert seen_by(metric, signature, ["reward:length|weight:1", reward]) == ([reward] if saw else [])


def _other_item(run: Path) -> None:
    items = run / "items.jsonl"
    items.write_text(items.read_text(encoding="utf-8").replace('"Q007"', '"Q907"'), encoding="utf-8")


def _other_signature(run: Path) -> None:
    write_run(run, SFT["end"], signatures={**SIGNATURES, "cmrc_f1": "f1|questions:50"})


def _other_formula(run: Path) -> None:
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    results["metrics"]["cmrc_f1"]["formula"] = "ratio"
    write_json(run / "results.json", results)


def _without(name: str):
    def remove(run: Path) -> None:
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return remove


def _append(line: str):
    def add(run: Path) -> None:
        with (run / "items.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    return add


def _statistic(number: str):
    def replace(run: Path) -> None:
        text = (run / "items.jsonl").read_text(encoding="utf-8")
        (run / "items.jsonl").write_text(text.replace('"cmrc_f1": [0.0]', f'"cmrc_f1": [{number}]'), encoding="utf-8")

    return replace


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_other_item, r"seed-1/strong_sft and .*seed-0/base: cmrc_f1 was measured on other items: 2 are in one only"),
        (_other_signature, r"seed-1/strong_sft and .*base: cmrc_f1 has the signature f1\|questions:50 in one and"),
        (_other_formula, r"seed-1/strong_sft and .*base: cmrc_f1 has the formula ratio in one and mean"),
        (_without("items.jsonl"), r"seed-1/strong_sft/items.jsonl: cannot be read .*; test it again"),
        (_without("results.json"), r"seed-1/strong_sft/results.json: cannot be read .*; test it again"),
        (_without("points/scale-0.5"), r"seed-1/strong_sft/points: lacks the point scale-0.5, which seed-0 has"),
        (_append("{"), r"seed-1/strong_sft/items.jsonl, line 76: is no item of the form"),
        (_append('{"set": "cmrc", "id": "Q001", "statistics": {}}'), r"line 76: item Q001 of cmrc is there twice"),
        (_append('{"set": ["cmrc"], "id": "Q001", "statistics": {}}'), r"line 76: is no item of the form"),
        (_statistic("null"), r"seed-1/strong_sft/items.jsonl: items cmrc have no list of finite numbers"),
        (_statistic(f"1{'0' * 400}"), r"seed-1/strong_sft/items.jsonl: items cmrc have no list of finite numbers"),
    ],
)
def test_an_unfair_comparison_stops(tmp_path: Path, damage, message: str) -> None:
    folder = write_frontiers(tmp_path, {"strong_sft": SFT, "semantic_grpo": GRPO}, seeds=2)
    damage(folder / "seed-1" / "strong_sft")
    with pytest.raises(ValueError, match=message) as error:
        compare_study(folder, VARIANTS, STARTS)
    assert "\n" not in str(error.value)


def test_a_resample_without_a_value_is_refused(folder: Path) -> None:
    for run in (folder / "seed-0" / "base", *(folder / "seed-0").glob("*/points/*"), *(folder / "seed-0").glob("*_*")):
        rows = [json.loads(line) for line in (run / "items.jsonl").read_text(encoding="utf-8").splitlines()]
        for row in rows:
            if row["set"] == "drift" and not row["id"].endswith(":1"):
                row["statistics"]["nll_change_mean"] = [0.0, 0.0]  # no tokens: only one text has some
        (run / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(ValueError, match=r"nll_change_mean has no value in \d+ of 1001 resamples of its 25 items"):
        compare_study(folder, VARIANTS, STARTS)


def test_other_refusals(folder: Path, tmp_path: Path) -> None:
    def refused(message: str, *, variants=VARIANTS, where: Path = folder, **settings) -> None:
        with pytest.raises(ValueError, match=message):
            compare_study(where, variants, STARTS, Settings(**settings))

    refused("has no items of nll_change_p90", costs=("nll_change_p90",))
    refused("more or less of speed is better", costs=("speed",))
    refused("nll_change_mean is a cost", quality="nll_change_mean")
    refused("holds no folder seed-N", where=tmp_path)
    refused("no system was tested at several points, and one point is no curve; list scales", variants={})
    only_end = write_frontiers(tmp_path / "other", {"a": {"end": Planted(60, 60)}})
    refused("one point is no curve", variants={"a": ["a"]}, where=only_end)
    shutil.rmtree(only_end / "seed-0" / "base")
    refused("costs are against the base model", variants={"a": ["a"]}, where=only_end)


def test_a_system_of_another_task_has_no_curve_unless_it_is_compared(folder: Path) -> None:
    """Translation and headlines may be in one study."""
    shutil.copytree(folder / "seed-0" / "semantic_grpo", folder / "seed-0" / "headlines")
    for items in (folder / "seed-0" / "headlines").rglob("items.jsonl"):
        items.write_text(items.read_text(encoding="utf-8").replace("test.jsonl:", "headlines.jsonl:"), encoding="utf-8")
    variants = {**VARIANTS, "headlines": ["headlines"]}
    frontier = compare_study(folder, variants, STARTS, Settings(pairs=(("strong_sft", "semantic_grpo"),)))
    assert list(frontier["curves"]) == ["strong_sft", "semantic_grpo"]
    assert frontier["verdicts"] == compare_study(folder, VARIANTS, STARTS)["verdicts"]
    with pytest.raises(ValueError, match=r"chrf was measured on other items.*only systems of one task in frontier"):
        compare_study(folder, variants, STARTS, Settings(pairs=(("strong_sft", "headlines"),)))


@pytest.mark.parametrize(("formula", "texts"), [("chrf", [[3, 4, 2], [5, 6, 1]]), ("bleu", [[7, 6] + 8 * [1]] * 2)])
def test_other_references_under_the_same_ids_are_other_items(formula: str, texts: list[list[float]]) -> None:
    """Ids are lines of files: another task, or a file of the same name in another folder, has the same ones."""

    def point(change: int | None) -> MeasuredPoint:
        statistics = np.array(texts, float)
        if change is not None:
            statistics[1, change] += 1
        return MeasuredPoint("run", {"chrf": MeasuredMetric("test", ("t:1", "t:2"), statistics, formula, "signature")})

    resampled = Resampled(point(None), draws=10)
    assert (resampled.align(point(0), "chrf")[1, 0], resampled.align(point(None), "chrf")[1, 0]) == (
        texts[1][0] + 1,
        texts[1][0],
    )
    with pytest.raises(ValueError, match="chrf was measured against other references of the same ids; test both on"):
        resampled.align(point(1), "chrf")


def test_of_several_references_the_nearest_one_may_differ() -> None:
    """A real metric with several references: each prediction is scored against another one of the same list."""
    meaning = next(unique(random.Random(0), SPLITS["test"]))
    texts = list(wordings(meaning))
    points = []
    for prediction in (texts[0], texts[-1]):
        metric = AnyStyleChrF("bo")
        rows = metric.rows([prediction, prediction], [texts[0], texts[0]]).numpy()
        measured = MeasuredMetric("test", ("t:1", "t:2"), rows, "chrf", metric.signature)
        points.append(MeasuredPoint("run", {"chrf_any_style": measured}))
    base, tested = points
    assert not np.array_equal(*(point.metrics["chrf_any_style"].statistics for point in points))
    assert Resampled(base, draws=10).align(tested, "chrf_any_style").shape == (2, rows.shape[1])


def test_items_in_another_order_are_the_same_items(folder: Path) -> None:
    items = folder / "seed-0" / "strong_sft" / "items.jsonl"
    before = compare_study(folder, VARIANTS, STARTS)
    items.write_text("".join(sorted(items.read_text(encoding="utf-8").splitlines(True), reverse=True)), "utf-8")
    assert compare_study(folder, VARIANTS, STARTS) == before


def test_resamples_are_shared_by_metrics_of_one_set(folder: Path) -> None:
    base, systems = read_study(folder, ["strong_sft"], STARTS, "base")
    resampled = Resampled(base, draws=50)
    f1, em = (resampled.values(systems["strong_sft"], name) for name in ("cmrc_f1", "cmrc_em"))
    assert f1.shape == (51, 1, 3) and (f1 == em).all() and f1[1:].std() > 0
    assert (resampled.cost(systems["strong_sft"], "cmrc_f1")[..., -1] == 0).all()  # base against base, in every draw


def test_names() -> None:
    assert curve_order({"scale-0.1", "step-9", "scale-1e-05", "scale-1", "end", "step-10"}) == [
        *("step-9", "step-10", "end", "scale-1", "scale-0.1", "scale-1e-05")
    ]
    with pytest.raises(ValueError, match="lr-0.1: is no name of a point"):
        curve_order(["lr-0.1"])


@pytest.mark.parametrize("ends", [(0.0, 64.0), (50.2, 59.5), (0.411, 0.538), (-0.02, 0.001), (12.0, 12.1), (0, 1e-9)])
def test_a_readable_quality_is_near_the_upper_end(ends: tuple[float, float]) -> None:
    low, high = ends
    assert high - 0.04001 * (high - low) <= readable_quality(low, high) <= high
