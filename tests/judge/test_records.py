"""Judgements in files, pairs of answers, and the figures of a summary against numbers by hand."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from semalign_pl.judge.pairs import Pair, read_pairs
from semalign_pl.judge.records import Judgement, read_judgements, write_judgements
from semalign_pl.judge.summary import summarise


def test_judgements_survive_a_file(tmp_path: Path) -> None:
    made = [
        Judgement("1", "m", "translation", "a", "b", "shorter", 10, 2),
        Judgement("1", "m", "translation", "b", "tie"),
        Judgement("2", "m", "translation", "a", None, "no idea", 10, 3),
    ]
    write_judgements(tmp_path / "j.jsonl", made)
    lines = [json.loads(line) for line in (tmp_path / "j.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[1] == {"id": "1", "judge": "m", "rubric": "translation", "first": "b", "winner": "tie"}
    assert lines[2]["winner"] is None
    assert read_judgements(tmp_path / "j.jsonl") == made


LINE = {"id": "1", "judge": "m", "rubric": "r", "first": "a", "winner": "b"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"j\.jsonl:2: not a JSON object"),
        ("[]", r"j\.jsonl:2: .* is no JSON object"),
        (json.dumps({**LINE, "winner": "first"}), r"j\.jsonl:2: winner: 'first' is none of a, b, tie, null"),
        (json.dumps({k: v for k, v in LINE.items() if k != "winner"}), r"j\.jsonl:2: winner: None"),
        (json.dumps({**LINE, "first": None}), r"j\.jsonl:2: first: None is none of a, b"),
        (json.dumps({**LINE, "id": 3}), r"j\.jsonl:2: id: 3 is no text"),
        (json.dumps({**LINE, "prompt_tokens": -1}), r"j\.jsonl:2: prompt_tokens: -1 is no number of tokens"),
    ],
)
def test_a_malformed_judgement_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "j.jsonl").write_text(f"{json.dumps(LINE)}\n{line}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_judgements(tmp_path / "j.jsonl")


def _write(path: Path, *rows: Mapping[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_pairs_of_a_test_and_of_translate(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    _write(
        tmp_path / "run" / "predictions.jsonl",
        {"id": "x:1", "prompt": "S1", "reference": "R1", "prediction": "A1", "scores": {}},
        {"id": "x:2", "prompt": "S2", "reference": "R2", "prediction": "A2", "scores": {}},
    )
    b = _write(
        tmp_path / "b.jsonl",
        {"id": "x:2", "source": "S2", "prediction": "B2", "finished": True},
        {"id": "x:1", "source": "S1", "prediction": "B1", "finished": True},
    )
    assert read_pairs(tmp_path / "run", b) == [Pair("x:1", "S1", "R1", "A1", "B1"), Pair("x:2", "S2", "R2", "A2", "B2")]
    assert read_pairs(b, b)[0] == Pair("x:2", "S2", None, "B2", "B2")
    for absent in ("", None):  # a run's file has an empty reference if its corpus has none
        c = _write(tmp_path / "c.jsonl", {"id": "x", "prompt": "S", "reference": absent, "prediction": "C"})
        assert read_pairs(c, c) == [Pair("x", "S", None, "C", "C")]


ROW = {"id": "1", "source": "S", "text": "T", "reference": "R"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**ROW, "id": "2"}], r"a\.jsonl:1: .*b\.jsonl has no row with the id '1' \(1 of 1 are missing\)"),
        ([ROW, {**ROW, "id": "3"}], r"b\.jsonl:2: .*a\.jsonl has no row with the id '3'"),
        ([{**ROW, "source": "other"}], r"b\.jsonl:1: the source of '1' differs from that in .*a\.jsonl:1"),
        ([{**ROW, "reference": "other"}], r"b\.jsonl:1: the reference of '1' differs from that in .*a\.jsonl:1"),
        ([ROW, ROW], r"b\.jsonl:2: the id '1' is on line 1, too"),
        ([{"id": "1", "source": "S"}], r"b\.jsonl:1: there is no prediction or .*--text \(there are id, source\)"),
        ([{"id": "1", "text": "S"}], r"b\.jsonl:1: there is no source or .*--source"),
        ([{**ROW, "text": 3}], r"b\.jsonl:1: text: 3 is no text"),
        ([{"source": "S", "text": "T"}], r"b\.jsonl:1: there is no id"),
        ([], r"b\.jsonl: has no rows"),
    ],
)
def test_files_that_do_not_match_are_named(tmp_path: Path, rows: list[dict[str, object]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_pairs(_write(tmp_path / "a.jsonl", ROW), _write(tmp_path / "b.jsonl", *rows))


def _judged(judge: str, *winners: tuple[str, str | None, str | None]) -> list[Judgement]:
    """Judgements of items: id, winner with A first, winner with B first."""
    return [
        Judgement(id, judge, "r", first, winner, None, 100, 10)  # pyright: ignore[reportArgumentType]
        for id, *both in winners
        for first, winner in zip(("a", "b"), both, strict=True)
    ]


def test_figures_by_hand() -> None:
    one = _judged("one", ("1", "a", "a"), ("2", "a", "b"), ("3", "tie", "b"), ("4", "a", None))
    summary = summarise(one)
    # Shares of A: 1, 0.5, 0.25, 1. First place wins: item 1 once, 2 twice, 3 once, 4 once; second: item 1 once.
    assert summary.win_rate.value == pytest.approx((1 + 0.5 + 0.25 + 1) / 4)
    assert summary.order_bias.value == pytest.approx((5 - 1) / 7)
    assert (summary.wins_a, summary.wins_b, summary.ties, summary.unreadable) == (4, 2, 1, 1)
    assert summary.order_agreement == pytest.approx(1 / 3)
    assert (summary.prompt_tokens, summary.completion_tokens) == (800, 80)
    assert summary.win_rate.low < summary.win_rate.value < summary.win_rate.high
    both = summarise(one + _judged("two", ("1", "a", "tie"), ("2", "b", "b")))
    assert both.judge_agreement == {("one", "two"): 0.5}
    assert both.win_rate.value == pytest.approx((0.875 + 0.25 + 0.25 + 1) / 4)


def test_one_order_per_item_gives_no_agreement() -> None:
    people = [Judgement(str(i), "Pema", "r", "a" if i % 2 else "b", "a") for i in range(10)]
    summary = summarise(people)
    assert summary.order_agreement is None and summary.prompt_tokens == 0
    assert summary.win_rate.value == summary.win_rate.low == 1.0


def test_no_verdict_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="none of 2 judgements has a verdict"):
        summarise(_judged("one", ("1", None, None)))
