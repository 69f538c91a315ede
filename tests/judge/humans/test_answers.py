"""Answers of readers: blind orders, and files that are foreign, changed or damaged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.reader_answers import answers_of, write_answers

from semalign_pl.judge.humans.blinding import blind
from semalign_pl.judge.humans.command import merge
from semalign_pl.judge.pairs import Pair


def test_orders_are_blind_and_those_of_the_seed(pairs: list[Pair]) -> None:
    one, again, other = blind(pairs, 1), blind([*reversed(pairs)], 1), blind(pairs, 2)
    assert one == again and one != other
    assert [shown.pair.id for shown in one] != [pair.id for pair in pairs]
    assert [sum(shown.first == "a" for shown in blind(pairs[:n], 1)) for n in (20, 19, 1)] == [10, 10, 1]


def test_answers_of_several_readers_are_merged(pairs: list[Pair], tmp_path: Path) -> None:
    unfinished = answers_of(pairs, "Tashi", seed=4)
    unfinished["answers"] = unfinished["answers"][:5]
    files = [write_answers(tmp_path, answers_of(pairs), "1.json"), write_answers(tmp_path, unfinished, "2.json")]
    merged = merge(files, pairs)
    assert [one.judge for one in merged] == ["Dolma"] * 20 + ["Tashi"] * 5
    firsts = {seed: {shown.pair.id: shown.first for shown in blind(pairs, seed)} for seed in (3, 4)}
    assert all(one.winner == one.first == firsts[3 if one.judge == "Dolma" else 4][one.id] for one in merged)
    assert firsts[3] != firsts[4]


def change(place: int, **fields: object) -> Callable[[dict[str, Any]], object]:
    def changed(answers: dict[str, Any]) -> object:
        answers["answers"][place].update(fields)
        return answers

    return changed


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda answers: [answers], r"format: is not semalign-answers-1; give a file that the page"),
        (lambda answers: answers | {"format": "x"}, r"format: is not semalign-answers-1"),
        (lambda answers: answers | {"pairs": "0" * 16}, r"pairs: '0{16}' is the digest of other pairs"),
        (lambda answers: answers | {"seed": 4}, r"page: '\w{16}' does not fit to its seed and rubric"),
        (lambda answers: answers | {"seed": True}, r"seed: 'True' is not a whole number"),
        (lambda answers: answers | {"rubric": "headline"}, r"page: '\w{16}' does not fit to its seed and rubric"),
        (lambda answers: answers | {"rubric": None}, r"rubric: 'None' is not a text"),
        (lambda answers: answers | {"reader": " "}, r"reader: is blank; write the reader's name in the page"),
        (lambda answers: answers | {"reader": "Tashi"}, r"answer 1 \(test.jsonl:1\): check: '\w{8}' does not fit"),
        (lambda answers: answers | {"answers": []}, r"answers: there are none"),
        (lambda answers: answers | {"answers": {}}, r"answers: '{}' is not a list"),
        (lambda answers: answers | {"answers": [*answers["answers"], 5]}, r"answer 21: is no object"),
        (lambda answers: answers | {"answers": answers["answers"] * 2}, r"answer 21: id: 'test.jsonl:1' has an answer"),
        (change(2, id="test.jsonl:99"), r"answer 3: id: there is no pair 'test.jsonl:99'"),
        (change(2, id=4), r"answer 3: id: '4' is not a text"),
        (change(4, choice="a"), r"answer 5 \(test.jsonl:5\): choice: 'a' is none of first, second, tie"),
        (change(4, choice="second"), r"answer 5 \(test.jsonl:5\): check: '\w{8}' does not fit"),
        (change(4, comment="x"), r"answer 5 \(test.jsonl:5\): check: '\w{8}' does not fit"),
        (change(4, comment=None), r"answer 5 \(test.jsonl:5\): comment: 'None' is not a text"),
    ],
)
def test_foreign_and_changed_files_are_refused(
    pairs: list[Pair], tmp_path: Path, mistake: Callable[[dict[str, Any]], object], message: str
) -> None:
    file = write_answers(tmp_path, mistake(answers_of(pairs)))
    with pytest.raises(ValueError, match=f"^{file}: {message}") as error:
        merge([file], pairs)
    assert "\n" not in str(error.value)


def test_files_that_do_not_belong_together_are_refused(pairs: list[Pair], tmp_path: Path) -> None:
    own = write_answers(tmp_path, answers_of(pairs), "1.json")
    with pytest.raises(ValueError, match=f"{own}: reader: 'Dolma' is the reader of {own}, too"):
        merge([own, own], pairs)
    other = write_answers(tmp_path, answers_of(pairs, "Tashi", rubric="headline"), "2.json")
    with pytest.raises(ValueError, match=f"{other}: rubric: 'headline' is not the rubric of {own}, 'translation'"):
        merge([own, other], pairs)
    swapped = [replace(pair, a=pair.b, b=pair.a) for pair in pairs]
    with pytest.raises(ValueError, match=r"pairs: '\w{16}' is the digest of other pairs.*in the same order"):
        merge([own], swapped)
    own.write_text('{"format"', encoding="utf-8")
    with pytest.raises(ValueError, match=rf"{own}: not valid JSON \(.*export the answers again"):
        merge([own], pairs)
    with pytest.raises(ValueError, match="none.json: .*export the answers again"):
        merge([tmp_path / "none.json"], pairs)
