"""Scoring of short answers by language, against torchmetrics' SQuAD and by hand."""

from __future__ import annotations

import random

import pytest

from semalign_pl.metrics import cmrc, squad
from semalign_pl.metrics.squad_scorers import answer_scorer, is_within

WORDS = "The the a an Rhine rhine, U.S. army's (1963) 3.5 river of on-line “quoted” 中国".split()


def test_the_same_as_torchmetrics() -> None:
    """The official script, as torchmetrics has it, on random answers with all signs that rules name."""
    from torchmetrics.functional.text import squad as official

    rng = random.Random(0)
    drawn = [[" ".join(rng.choices(WORDS, k=rng.randint(0, 4))) for _ in range(3)] for _ in range(300)]
    seen = set()
    for prediction, *answers in drawn:
        target = {"id": "1", "answers": {"text": answers, "answer_start": [0, 0]}}
        expected = official([{"id": "1", "prediction_text": prediction}], [target])
        seen.add(float(expected["f1"]))
        assert 100 * squad.exact_match(prediction, answers) == pytest.approx(float(expected["exact_match"]))
        assert 100 * squad.f1(prediction, answers) == pytest.approx(float(expected["f1"]), abs=1e-4)
    assert len(seen) > 8


@pytest.mark.parametrize(
    ("language", "name", "prediction", "answers", "em", "f1"),
    [
        ("en", "squad-2.0", "in the year 1963", ["1963"], 0.0, 0.5),
        ("zh", "cmrc2018-v6", "在1963年", ["1963年"], 0.0, 0.8),
        ("zh-Hant", "cmrc2018-v6", "在1963年", ["1963年"], 0.0, 0.8),
        # བོད་ལྗོངས་ལྷ་ས has four syllables, ལྷ་ས two of them: precision 1/2, recall 1.
        ("bo", "units-1:syllable:bo", "བོད་ལྗོངས་ལྷ་ས།", ["ལྷ་ས།"], 0.0, 2 / 3),
        ("bo", "units-1:syllable:bo", "ལྷ་ས་", ["«ལྷ་ས།»"], 1.0, 1.0),
        ("mn", "units-1:word:mn", "Улаанбаатар хот", ["улаанбаатар"], 0.0, 2 / 3),
        ("th", "units-1:character:th", "!", ["กรุงเทพ"], 0.0, 0.0),
    ],
)
def test_rules_by_language(language: str, name: str, prediction: str, answers: list[str], em: float, f1: float) -> None:
    scorer = answer_scorer(language)
    assert scorer.name == name
    assert scorer.exact_match(prediction, answers) == em
    assert scorer.f1(prediction, answers) == pytest.approx(f1)


def test_chinese_is_scored_by_the_published_script() -> None:
    scorer = answer_scorer("zh")
    assert (scorer.exact_match, scorer.f1) == (cmrc.exact_match, cmrc.f1)


def test_contains_whole_units_only() -> None:
    assert answer_scorer("en").contains("It was the Rhine.", ["rhine"]) == 1
    assert answer_scorer("en").contains("It was Rhineland.", ["rhine"]) == 0
    assert answer_scorer("bo").contains("ང་བོད་ལ་འགྲོ།", ["བོད"]) == 1 and answer_scorer("bo").contains("བོདའི", ["བོད"]) == 0
    assert not is_within([], ["a"]) and is_within(["a"], ["a"]) and not is_within(["a", "a"], ["a"])
