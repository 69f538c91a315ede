"""Formulas, against sacrebleu on random counts and edge cases, and against numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu
import torch

from semalign_pl.functional.bootstrap import confidence_interval
from semalign_pl.functional.formulas import score, score_items, value
from semalign_pl.types import Item

WORDS = ["a", "b", "c", "d", "longer"]


def texts(seed: int, count: int, longest: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, size=random.integers(0, longest + 1))) for _ in range(count)]


EDGES = [
    ("", ""),
    ("", "a b c d"),
    ("a b c d", ""),
    ("b b b b b", "a a a a a"),  # no match
    ("a", "a"),  # no 2-gram
    ("a b c", "a b c"),  # no 4-gram
    ("a b x d", "a b c d"),  # some orders without a match
    ("a b c d a", "a b c d a"),
    ("a b c d", "a b c d a b c d"),  # too short
    ("a b c d a b c d", "a b c d"),
    ("ab", "a b"),  # characters match, words do not
]
PAIRS = [*EDGES, *zip(texts(0, 200, 12), texts(1, 200, 12), strict=True)]


def sums(statistics: np.ndarray) -> np.ndarray:
    """The statistics of each text, and the sums of 100 resamples of them."""
    random = np.random.default_rng(3)
    counts = random.multinomial(7, [1 / len(statistics)] * len(statistics), size=100)
    return np.concatenate([statistics, counts @ statistics])


@pytest.mark.parametrize(("formula", "effective"), [("bleu", False), ("sentence_bleu", True)])
def test_bleu_is_sacrebleus(formula: str, effective: bool) -> None:
    oracle = sacrebleu.BLEU(tokenize="none", force=True, effective_order=effective)
    found = [oracle.corpus_score([text], [[reference]]) for text, reference in PAIRS]
    total = sums(np.array([[s.sys_len, s.ref_len, *s.counts, *s.totals] for s in found], dtype=np.float64))
    expected = [oracle._compute_score_from_stats([int(x) for x in row]).score for row in total]
    assert value(formula, total, 1).tolist() == expected  # to the last digit
    assert len(set(expected)) > 150 and 0.0 in expected


@pytest.mark.parametrize("word_order", [0, 2])
def test_chrf_is_sacrebleus(word_order: int) -> None:
    oracle = sacrebleu.CHRF(word_order=word_order)
    rows = oracle._extract_corpus_statistics([text for text, _ in PAIRS], [[reference for _, reference in PAIRS]])
    total = sums(np.array(rows, dtype=np.float64))
    expected = [oracle._compute_f_score(row.tolist()) for row in total]
    assert value("chrf", total, 1).tolist() == expected
    assert len(set(expected)) > 150 and 0.0 in expected and 100.0 in expected


def test_means_and_ratios_by_hand() -> None:
    assert value("mean", np.array([[6.0], [3.0]]), 4).tolist() == [1.5, 0.75]
    assert value("mean", np.array([6.0]), 4).shape == ()
    ratios = value("ratio", np.array([[6.0, 4.0], [0.0, 2.0], [0.0, 0.0], [1.0, 0.0]]), 9)
    assert ratios[:2].tolist() == [1.5, 0.0] and np.isnan(ratios[2:]).all()


def test_more_dimensions() -> None:
    total = np.random.default_rng(0).integers(1, 9, (2, 3, 24)).astype(np.float64)
    assert value("chrf", total, 1).shape == (2, 3)
    assert value("chrf", total, 1)[1, 2] == value("chrf", total[1, 2], 1)


@pytest.mark.parametrize("formula", ["mean", "ratio", "bleu"])
def test_score_is_that_of_one_resample_at_a_time(formula: str) -> None:
    counts = np.random.default_rng(5).random((30, {"mean": 1, "ratio": 2, "bleu": 10}[formula])) * 10
    rows = torch.from_numpy(counts)

    def of(draws: torch.Tensor) -> float:
        return float(value(formula, (draws @ rows).numpy(), 30))

    result = score(formula, counts, "s", n_bootstrap=200, seed=4)
    assert result.ci == confidence_interval(of, 30, 200, 4)
    assert result.value == pytest.approx(of(torch.ones(30, dtype=torch.float64)), rel=1e-12)
    assert result.signature == "s|bs:200|seed:4" and result.formula == formula and result.items is None


def test_no_interval_where_a_resample_has_no_value() -> None:
    few = np.array([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])  # one text of three has a reference
    result = score("ratio", few, "s")
    assert result.value == 1.0 and result.ci is None


def test_items_of_one_set() -> None:
    items = [Item("quiz", str(i), {"quiz": [float(i)], "other": [0.0]}) for i in range(4)]
    result = score_items(items, "quiz", "mean", "s", n_bootstrap=10)
    assert (result.value, result.items, result.formula) == (1.5, "quiz", "mean")
    with pytest.raises(ValueError, match="quiz: its items are of 2 sets \\(b, quiz\\); give items of one set"):
        score_items([*items, Item("b", "1", {"quiz": [1.0]})], "quiz", "mean", "s")
    with pytest.raises(ValueError, match="quiz: its items are of 0 sets"):
        score_items([], "quiz", "mean", "s")


@pytest.mark.parametrize(
    ("formula", "statistics", "message"),
    [
        ("median", 1, "there is no 'median'; take one of mean, ratio, chrf, bleu, sentence_bleu"),
        ("mean", 2, "'mean' takes 1 statistics, and there are 2"),
        ("bleu", 9, "'bleu' takes 10 statistics, and there are 9"),
        ("chrf", 10, "'chrf' takes 3 statistics per order, and there are 10"),
        ("chrf", 0, "'chrf' takes 3 statistics per order, and there are 0"),
    ],
)
def test_refused(formula: str, statistics: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        value(formula, np.ones((5, statistics)), 5)
    with pytest.raises(ValueError, match="there is no item to score"):
        score("mean", np.ones((0, 1)), "s")
