"""The toy world's judge: its questions, and a folder that `semalign judge` can use."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from semalign_pl.judge.local import LocalModel
from semalign_pl.judge.rubric import Rubric, read_rubric
from semalign_pl.toy import generator, grammar, judge
from semalign_pl.toy.build import WEIGHTS

RUBRIC = Rubric("toy", "0", "", pairwise=judge.RUBRIC)


@pytest.mark.parametrize("headline", [False, True])
def test_a_text_has_quality_1_if_and_only_if_it_is_the_reference(headline: bool) -> None:
    rng, write = random.Random(0), grammar.tibetan_headline if headline else grammar.tibetan
    seen = set()
    for _ in range(300):
        meaning = generator.draw(rng, generator.SPLITS["train"])
        text, quality = judge.draw_text(rng, meaning, headline)
        assert 0 <= quality <= 1
        if quality == 1:
            assert text == write(meaning)
        seen.add(quality == 1)
    assert seen == {True, False}


def test_answers_are_all_used_and_the_better_text_is_the_answer() -> None:
    cases = [judge.draw_case(random.Random(number), RUBRIC, "dev") for number in range(200)]
    shares = [sum(case.answer == place for case in cases) / 200 for place in range(3)]
    assert min(shares[:2]) > 0.25 and shares[2] > 0.05
    for case in cases:
        reference, first, second, last = (
            case.question.user.split("\n") if case.question.user.count("\n") == 3 else [""] * 4
        )
        if reference and (first == reference) != (second == reference):
            assert case.answer == (0 if first == reference else 1) and last == "VERDICT:"


def test_a_trained_judge_is_read_as_any_local_model(tmp_path: Path) -> None:
    right = judge.train(WEIGHTS / "base", tmp_path / "judge", steps=1, batch=2, new_questions=4)
    assert 0 <= right <= 1 and not (tmp_path / "judge" / "digests.json").exists()
    rubric = read_rubric("--rubric", str(tmp_path / "judge" / "rubric.yaml"))
    assert rubric.pairwise == judge.RUBRIC
    reply = LocalModel(str(tmp_path / "judge"), tmp_path / "digests.json").choose(rubric.compare("", "ཀ", "ཀ", "ཁ"))
    assert sum(reply.probabilities) == pytest.approx(1, abs=1e-4)
