"""The recipe that ``semalign init`` proposes, by the user's data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semalign_pl.project.advice import FEWEST, MOST, PAGE, REAL, advise
from semalign_pl.project.general import Kind
from semalign_pl.toy.conditions import SHIPPED

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


@pytest.mark.parametrize(
    ("general", "recipe", "reason"),
    [
        ("instructions", "keep.yaml instead of steps 2 and 3", "and an anchor lost less at equal"),
        (
            "instructions",
            "keep.yaml instead of steps 2 and 3",
            "GRPO after it (keep_grpo of study.yaml) gained more at",
        ),
        ("texts", "keep.yaml instead of steps 2 and 3", "with questions and their answers as --general it also keeps"),
        ("own", "sft.yaml instead of step 3", "GRPO lost no less at equal quality than SFT whose"),
    ],
)
def test_the_recipe_follows_the_general_text(general: Kind, recipe: str, reason: str) -> None:
    line = advise(2000, general)
    assert line.startswith(f"train {recipe}, then scale it with semalign dial: ")
    assert reason in line and line.endswith(f" ({PAGE})") and "was measured with" not in line


@pytest.mark.parametrize(("general", "most"), [("own", MOST), ("texts", REAL), ("instructions", REAL)])
def test_numbers_of_pairs_beyond_the_measured_ones_are_said(general: Kind, most: int) -> None:
    for pairs in (FEWEST - 1, most + 1):
        assert f"measured with 300 to {most:,} pairs, and you have {pairs:,} (" in advise(pairs, general)
    assert "and you have" not in advise(most, general)


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


def test_the_reasons_are_those_of_the_real_model() -> None:
    """At equal quality, SFT that is held loses no more than strong SFT in any cost; GRPO after it gains and keeps."""
    content = json.loads((RESULTS / "real.json").read_text(encoding="utf-8"))
    outcomes = {one["outcome"] for one in content["verdicts"] if {one["a"], one["b"]} == {"strong_sft", "keep_sft"}}
    assert outcomes == {"b", "not distinguishable"}
    base, kept, more = (content["metrics"][name] for name in ("base", "keep_sft", "keep_grpo"))
    assert more["chrf"]["ci"][0] > kept["chrf"]["ci"][1]
    for name in ("arc_easy_accuracy", "piqa_accuracy", "blimp_accuracy", "english_exact_match"):
        assert more[name]["ci"][1] > base[name]["value"], f"{name}: within its interval"
