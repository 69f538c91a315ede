"""The recipe that ``semalign init`` proposes, by the user's data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semalign_pl.project.advice import FEWEST, MOST, PAGE, advise
from semalign_pl.project.general import Kind
from semalign_pl.toy.conditions import SHIPPED

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@pytest.mark.parametrize(
    ("general", "recipe", "reason"),
    [
        (
            "instructions",
            "keep.yaml instead of steps 2 and 3",
            "held by replay and an anchor lost less at equal",
        ),
        ("texts", "keep.yaml instead of steps 2 and 3", "with questions and their answers as --general it also keeps"),
        ("own", "sft.yaml instead of step 3", "GRPO lost no less than SFT whose update is scaled down; with --general"),
    ],
)
def test_the_recipe_follows_the_general_text(general: Kind, recipe: str, reason: str) -> None:
    line = advise(2000, general)
    assert line.startswith(f"train {recipe}, then scale it with semalign dial: ")
    assert reason in line and line.endswith(f" (in the miniature world: {PAGE})") and "was measured with" not in line


@pytest.mark.parametrize("pairs", [FEWEST - 1, MOST + 1])
def test_numbers_of_pairs_beyond_the_measured_ones_are_said(pairs: int) -> None:
    assert f"measured with 300 to 10,000 pairs, and you have {pairs:,} (" in advise(pairs, "own")


def test_the_measured_numbers_are_those_of_the_results() -> None:
    content = json.loads((RESULTS / "map.json").read_text(encoding="utf-8"))
    measured = [int(one["options"]["pairs"]) for one in content["conditions"].values()]
    assert (min(measured), max(measured)) == (FEWEST, MOST)
    assert FEWEST < SHIPPED.pairs < MOST and (RESULTS / "ladder.json").is_file()


def test_the_reasons_are_those_of_the_results() -> None:
    """Loss of F1 at equal quality: GRPO never beats SFT, and nothing beats the keep recipe, which beats both."""
    rows = json.loads((RESULTS / "map.json").read_text(encoding="utf-8"))["differences"]
    rows = [row for row in rows if (row["metric"], row["matched"]) == ("cmrc_f1", "quality")]

    def better(*pair: str) -> set[str | None]:
        return {row["better"] for row in rows if {row["a"], row["b"]} == set(pair)}

    ladder = json.loads((RESULTS / "ladder.json").read_text(encoding="utf-8"))["verdicts"]
    ladder = [row for row in ladder if {row["a"], row["b"]} == {"sft", "semantic_grpo"} and row["metric"] == "cmrc_f1"]
    assert ladder and all(row["outcome"] == "not distinguishable" for row in ladder)
    assert better("sft", "semantic_grpo") <= {"sft", None}
    for other in ("sft", "semantic_grpo"):
        assert "keep_sft" in better("keep_sft", other) <= {"keep_sft", None}
