"""Page of a study of real data: shares of losses by hand, and texts with separators of lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from real import _failures, collect
from real_page import page, shares

from semalign_pl.study.joined import Points, RunMetric, join
from semalign_pl.study.systems import System

BASE = {"chrf": (1.0, None), "nll_change_mean": (0.0, None), "piqa_accuracy": (60.0, (56.0, 64.0))}


@pytest.mark.parametrize(
    ("keep", "strong", "expected"),
    [
        ((40.0, 0.2, 54.0), (50.0, 0.8, 52.0), ["80%", "25%", "75%"]),
        ((40.0, 0.2, 62.0), (50.0, 0.8, 52.0), ["80%", "25%", "–"]),  # it gained
        ((40.0, 0.2, 54.0), (50.0, -0.1, 58.0), ["80%", "–", "–"]),  # the opponent gained, or its loss is noise
        ((40.0, 0.0, 60.0), (0.0, 0.8, 52.0), ["–", "0%", "0%"]),
    ],
)
def test_a_share_needs_two_losses(keep: tuple[float, ...], strong: tuple[float, ...], expected: list[str]) -> None:
    systems = {"keep_sft": keep, "strong_sft": strong}
    metrics = {name: {m: {"value": v} for m, v in zip(BASE, values, strict=True)} for name, values in systems.items()}
    metrics["base"] = {metric: {"value": value, "ci": ci} for metric, (value, ci) in BASE.items()}
    content = {"metrics": metrics, "quality": "chrf", "costs": ["nll_change_mean", "piqa_accuracy"]}
    rows = shares(content, "keep_sft", "strong_sft")
    assert [row[-1] for row in rows] == expected
    assert rows[2][1:3] == [f"{60 - keep[2]:.1f}" if keep[2] != 60 else "0.000", f"{60 - strong[2]:.1f}"]


TEST = """
trainer:
  callbacks:
    - {class_path: SemanticReward, init_args: {encoder: not used}}
    - {class_path: semalign_pl.Evaluation, init_args: {encoder: null}}
"""


def test_a_line_separator_in_an_output_ends_no_row(tmp_path: Path) -> None:
    rows = [{"prediction": text, "prompt": "a", "scores": {"chrf": 5.0}} for text in ("b\u2028c", "", "a", "d")]
    file = tmp_path / "predictions.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "test.yaml").write_text(TEST, encoding="utf-8")
    assert [*_failures(tmp_path).values()] == [0.25, 0.0, 1.0, 0.25]


def test_an_output_nearest_to_another_reference_is_a_failure(tmp_path: Path, encoder: str) -> None:
    """Equal references are one; an output halfway is a failure, as blank text is."""
    references = ["བོད་ཡིག", "ཤོག་བུ", "བོད་ཡིག", "ཁ་བྱང"]
    outputs = ["བོད་ཡིག", "ཤོག་བུ", "ཤོག་བུ", ""]
    rows = [
        {"prediction": output, "reference": reference, "prompt": "a", "scores": {"chrf": 5.0}}
        for output, reference in zip(outputs, references, strict=True)
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "predictions.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "test.yaml").write_text(TEST.replace("null", encoder), encoding="utf-8")
    assert _failures(tmp_path)["nearest to another reference"] == 0.5


def write_run(folder: Path, chrf: float) -> Points:
    """Write files of the test and the training of a run; return the results of its points."""
    (folder / "points" / "scale-0.5").mkdir(parents=True)
    points: dict[str, float] = {"end": chrf, "scale-0.5": chrf / 2}
    metrics: dict[str, dict[str, RunMetric]] = {
        name: {"chrf": {"value": value, "ci": [value - 1, value + 3], "signature": "chrF"}}
        for name, value in points.items()
    }
    for name, where in (("end", folder), ("scale-0.5", folder / "points" / "scale-0.5")):
        (where / "results.json").write_text(json.dumps({"metrics": metrics[name]}), encoding="utf-8")
    row = {"prediction": f"b {chrf}", "reference": "b", "prompt": "a", "scores": {"chrf": chrf}}
    (folder / "predictions.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    (folder / "test.yaml").write_text(TEST, encoding="utf-8")
    (folder / "metrics.csv").write_text(f"step,train/reward/semantic\n0,{chrf}\n", encoding="utf-8")
    return {name: {"metrics": metrics[name], "run": {}} for name in points}


@pytest.mark.parametrize(("seeds", "chrf"), [(1, 40.0), (3, 44.0)])
def test_values_are_means_over_the_seeds(tmp_path: Path, seeds: int, chrf: float) -> None:
    results = {(n, "sft"): write_run(tmp_path / f"seed-{n}" / "sft", 40.0 + 4 * n) for n in range(seeds)}
    results |= {(n, "base"): {"end": write_run(tmp_path / f"seed-{n}" / "base", 2.0)["end"]} for n in range(seeds)}
    frontier = {"curves": {"sft": {"variant": "sft"}}, "verdicts": [], "hypervolumes": {}, "quality": "chrf"}
    frontier |= {"costs": ["nll_change_mean"], "seen_by_rewards": {"sft": []}}
    study = {"systems": join([System("sft", Path(), "base")], results, {}), "frontier": frontier}
    content = collect(tmp_path, study | {"run": {"seconds": {}, "peak_memory_mib": 1.0}}, seeds)
    assert content["metrics"] == {
        "base": {"chrf": {"value": 2.0, "ci": [1.0, 5.0]}},
        "sft": {"chrf": {"value": chrf, "ci": [chrf - 1, chrf + 3]}},
    }
    points = content["points"]["sft"]
    assert [*points] == ["end", "scale-0.5"] and points["end"] == content["metrics"]["sft"]
    assert points["scale-0.5"] == {"chrf": {"value": chrf / 2, "ci": [chrf / 2 - 1, chrf / 2 + 3]}}
    text = page(content | {"command": "python benchmarks/real.py"})
    assert f"| sft | {chrf:.1f} ({chrf - 1:.1f} to {chrf + 3:.1f}) |" in text
    assert ("1 seed(s), intervals over items only. One seed does not" in text) == (seeds == 1)
    assert ("3 seed(s), values are means over them. Intervals of values are over items only" in text) == (seeds == 3)
    assert text.count("seed 0") == (0 if seeds == 1 else 3)  # rewards, failures and samples
    assert "- sft: b 40.0" in text
