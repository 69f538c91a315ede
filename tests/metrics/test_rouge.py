"""ROUGE-L against rouge_score on placeholder words, and against numbers computed by hand."""

import random

import pytest
from rouge_score.rouge_scorer import RougeScorer

from semalign_pl.metrics import RougeL

SYLLABLES = ["བོད", "ཡིག", "སློབ", "སྦྱོང", "བྱེད", "ཡིན"]
WORDS = ["apple", "bread", "cheese", "dates", "eggs", "figs"]


@pytest.mark.parametrize(
    ("prediction", "reference", "f1"),
    [
        ("བོད་ཡིག", "བོད་ཡིག", 1.0),
        ("བོད་ཡིག་", "བོད་ཡིག", 1.0),
        ("བོད་ཡིག", "ཡིག་བོད", 0.5),
        ("བོད་སློབ་ཡིག", "བོད་ཡིག", 2 * (2 / 3) / (2 / 3 + 1)),  # a subsequence may have gaps
        ("བོད་ཡིག།", "བོད་ཡིག", 0.8),  # the shad is a unit
        ("བོད", "ཡིག", 0.0),
        ("", "ཡིག", 0.0),
        ("ཡིག", "་", 0.0),
        ("", "", 0.0),
    ],
)
def test_by_hand(prediction: str, reference: str, f1: float) -> None:
    assert RougeL("bo").per_row([prediction], [reference]) == pytest.approx([f1])


def test_same_as_rouge_score_on_english_words() -> None:
    rng = random.Random(0)
    pairs = [[rng.choices(range(6), k=rng.randint(1, 12)) for _ in range(2)] for _ in range(200)]
    oracle = RougeScorer(["rougeL"])
    expected = [
        oracle.score(" ".join(WORDS[i] for i in reference), " ".join(WORDS[i] for i in prediction))["rougeL"].fmeasure
        for prediction, reference in pairs
    ]
    texts = [["་".join(SYLLABLES[i] for i in side) for side in pair] for pair in pairs]
    metric = RougeL("bo")
    predictions, references = [pair[0] for pair in texts], [pair[1] for pair in texts]
    metric.update(predictions, references)
    assert metric.per_row(predictions, references) == pytest.approx(expected)
    assert metric.compute().item() == pytest.approx(sum(expected) / 200)


def test_signature() -> None:
    assert RougeL("zh").signature == "rouge:L|measure:f1|seg:character|lang:zh|rouge_score:0.1.2"
