"""Ledger of questions, counted by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.frontier_study import Planted, write_frontiers, write_run

from semalign_pl.frontier.comparison import compare_study
from semalign_pl.frontier.entry import LedgerEntry


def ledger(tmp_path: Path, f1_of_seeds: list[float], other: float = 88) -> LedgerEntry:
    """Ledger of two systems; the base has 24 of 25 questions right, and the n-th first ones are right of the others."""
    points = {"end": Planted(60, 76), "scale-0.5": Planted(30, 88)}
    write_frontiers(tmp_path, {"a": points, "b": {**points, "end": Planted(60, other)}}, seeds=len(f1_of_seeds))
    for seed, f1 in enumerate(f1_of_seeds):
        write_run(tmp_path / f"seed-{seed}" / "a", Planted(60, f1))
    return compare_study(tmp_path, {"a": ["a"], "b": ["b"]}, {})["ledger"]["cmrc_em"]


def test_majority_of_three_seeds_by_hand(tmp_path: Path) -> None:
    found = ledger(tmp_path, [76, 56, 80])  # right: 19, 14 and 20 questions, so 19 in two seeds or more
    assert (found["item_set"], found["items"]) == ("cmrc", 25)
    a_base, a_b, b_base, b_a = found["comparisons"]
    assert [(c["system"], c["against"]) for c in found["comparisons"]] == [
        *(("a", "base"), ("a", "b"), ("b", "base"), ("b", "a"))
    ]
    assert (a_base["lost"], a_base["gained"], a_base["undecided"]) == (5, 0, 0)
    assert a_base["lost_items"] == ["Q019", "Q020", "Q021", "Q022", "Q023"]
    assert a_base["p"] == pytest.approx(2 / 2**5)
    assert (a_b["lost"], a_b["gained"]) == (3, 0) == (b_a["gained"], b_a["lost"])  # b: 22 right
    assert (b_base["lost"], b_base["gained"]) == (2, 0)
    # Holm over three pairs: 0.0625, then 0.25 and 0.5.
    assert [c["p_holm"] for c in (a_base, a_b, b_base, b_a)] == pytest.approx([0.1875, 0.5, 0.5, 0.5])


def test_the_worst_are_sorted_by_drop_of_f1_then_id(tmp_path: Path) -> None:
    worst = ledger(tmp_path, [76, 56, 80])["comparisons"][0]["worst"]
    drops = {**dict.fromkeys(("Q020", "Q021", "Q022", "Q023"), 100), "Q019": 200 / 3}
    drops |= dict.fromkeys(("Q014", "Q015", "Q016", "Q017", "Q018"), 100 / 3)
    assert {row["id"]: row["drop"] for row in worst} == pytest.approx(drops)
    assert [row["id"] for row in worst] == list(drops)
    assert worst[4]["right"] == {"a": [1, 3], "base": [1, 1]}
    assert worst[5]["seed"] == 1 and worst[5]["answers"] == {"a": "错误14", "base": "答案"}


def test_a_tie_of_seeds_is_neither_lost_nor_gained(tmp_path: Path) -> None:
    found = ledger(tmp_path, [76, 56])["comparisons"][0]
    assert (found["lost"], found["gained"], found["undecided"]) == (5, 0, 5)


def test_no_more_than_twenty_are_listed(tmp_path: Path) -> None:
    found = ledger(tmp_path, [4, 4])["comparisons"][0]
    assert found["lost"] == 23 and len(found["worst"]) == 20


def test_one_question_counts_once_whatever_the_number_of_seeds(tmp_path: Path) -> None:
    one, five = (ledger(tmp_path / str(n), [76] * n)["comparisons"][0] for n in (1, 5))
    assert one["p"] == five["p"] == pytest.approx(0.0625)
    assert np.isclose(one["worst"][0]["drop"], five["worst"][0]["drop"])


def right_or_wrong(root: Path, names: dict[str, str], base: float = 96) -> dict[str, LedgerEntry]:
    """Ledgers of one system whose metrics have other names."""
    points = {"end": Planted(60, 76), "scale-0.5": Planted(30, 88)}
    write_frontiers(root, {"a": points}, base=Planted(0, base))
    for path in root.rglob("*.json*"):
        text = path.read_text(encoding="utf-8")
        for name, other in names.items():
            text = text.replace(name, other)
        path.write_text(text, encoding="utf-8")
    return compare_study(root, {"a": ["a"]}, {})["ledger"]


@pytest.mark.parametrize(
    "name", ["quiz_accuracy", "gsm8k_exact_match", "gsm8k_exact_match_strict_match", "arc_acc", "ifeval_prompt_strict"]
)
def test_every_score_that_is_right_or_wrong_has_a_ledger(tmp_path: Path, name: str) -> None:
    found = right_or_wrong(tmp_path, {"cmrc_em": name})
    assert {metric: entry["comparisons"][0]["lost"] for metric, entry in found.items()} == {name: 5}


@pytest.mark.parametrize("name", ["quiz_accuracy_norm", "exact_matches", "ifeval_instruction_strict"])
def test_other_scores_have_none(tmp_path: Path, name: str) -> None:
    assert right_or_wrong(tmp_path, {"cmrc_em": name}) == {}


def test_a_score_between_right_and_wrong_has_none(tmp_path: Path) -> None:
    """Of the base, one question of 25 has half of the points."""
    assert list(right_or_wrong(tmp_path, {"cmrc_f1": "quiz_accuracy"}, base=94)) == ["cmrc_em"]


@pytest.mark.parametrize("changed", [None, "em|questions:9|answers:generated|scale:100"])
def test_a_score_that_one_system_lacks_or_measured_otherwise_has_none(tmp_path: Path, changed: str | None) -> None:
    points = {"end": Planted(60, 76), "scale-0.5": Planted(30, 88)}
    write_frontiers(tmp_path, {"a": points, "b": points})
    path = tmp_path / "seed-0" / "b" / "results.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    metric = results["metrics"].pop("cmrc_em")
    if changed is not None:
        results["metrics"]["cmrc_em"] = {**metric, "signature": changed}
    path.write_text(json.dumps(results), encoding="utf-8")
    assert compare_study(tmp_path, {"a": ["a"], "b": ["b"]}, {})["ledger"] == {}
