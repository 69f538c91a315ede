"""Wins of judged systems: shares by hand, and results of several seeds read from a study's folder."""

from __future__ import annotations

from pathlib import Path

from semalign_pl.judge.records import Judgement, write_judgements
from semalign_pl.report.judge_sentences import judge_sentences
from semalign_pl.report.results import parse
from semalign_pl.study.judge_results import add_wins, count_wins, read_judge_results
from semalign_pl.study.judge_settings import JudgePair

WINNERS = [("1", "a", "a"), ("1", "b", "a"), ("2", "a", "b"), ("2", "b", "tie"), ("3", "a", None)]


def judgements(*swapped: str) -> list[Judgement]:
    other = {"a": "b", "b": "a"}
    return [
        Judgement(id, "j", "translation", first, other.get(winner, winner) if id in swapped else winner)  # type: ignore[arg-type]
        for id, first, winner in WINNERS
    ]


def test_ties_are_no_wins_and_answers_without_a_verdict_do_not_count() -> None:
    won = count_wins(judgements(), "a", "b")
    assert won["value"] == 50.0 and count_wins(judgements(), "b", "a")["value"] == 25.0
    assert won["ci"] == [0.0, 100.0], "of two items, resamples have one alone"
    assert won["signature"] == "judges:j|rubric:translation|against:b|ties:no win|orders:both"


def test_pairs_are_joined_over_seeds_and_given_to_their_systems(tmp_path: Path) -> None:
    pair = JudgePair("sft", "rl", "translation")
    for seed, rows in enumerate((judgements(), judgements("1"))):
        folder = tmp_path / f"seed-{seed}" / "judge" / pair.name
        folder.mkdir(parents=True)
        write_judgements(folder / "judgements.jsonl", rows)
    (entry,) = read_judge_results([pair], tmp_path, 2)
    assert entry["wins"]["sft"]["seeds"] == [50.0, 0.0] and entry["wins"]["rl"]["seeds"] == [25.0, 75.0]
    assert entry["unreadable"] == [1, 1]
    systems = {"sft": {"from": "base", "metrics": {}}, "rl": {"from": "base", "metrics": {}}}
    add_wins(systems, [entry])  # type: ignore[arg-type]
    assert systems["rl"]["metrics"]["judge_win"]["value"] == 50.0  # type: ignore[index]
    results = {"systems": systems, "judge": [entry]}
    assert judge_sentences(results, parse(results)) == [
        "Judge: sft wins 25.0 % [0.0, 50.0], rl wins 50.0 % [25.0, 75.0], the rest are ties (order bias -0.25, both "
        "orders agree on 50% of the items; 2 answers have no verdict)."
    ]
