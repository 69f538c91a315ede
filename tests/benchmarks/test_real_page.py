"""Page of a study of real data: shares of losses by hand, and texts with separators of lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from real import _failures
from real_page import shares

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


def test_a_line_separator_in_an_output_ends_no_row(tmp_path: Path) -> None:
    rows = [{"prediction": text, "prompt": "a", "scores": {"chrf": 5.0}} for text in ("b\u2028c", "", "a", "d")]
    file = tmp_path / "predictions.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert [*_failures(file).values()] == [0.25, 0.0, 1.0, 0.25]
