"""BLEU against sacrebleu itself and against numbers computed by hand."""

import math

import pytest
import sacrebleu

from semalign_pl.languages import get_language
from semalign_pl.metrics import Bleu4

TSHEG = "\u0f0b"


def _text(units: str) -> str:
    """Tibetan text from letters: each of a-z becomes one syllable."""
    return TSHEG.join(chr(0x0F40 + ord(unit) - ord("a")) for unit in units)


@pytest.mark.parametrize(
    ("prediction", "reference", "bleu"),
    [
        ("abcde", "abcde", 100.0),
        ("abcd", "abcde", 100 * math.exp(1 - 5 / 4)),  # brevity penalty
        ("abcdef", "abcde", 100 * (5 / 6 * 4 / 5 * 3 / 4 * 2 / 3) ** 0.25),
        ("abcdx", "abcde", 100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),
        ("abxde", "abcde", 100 * (4 / 5 * 2 / 4 * (1 / 2 / 3) * (1 / 4 / 2)) ** 0.25),  # exponential smoothing
        ("aaaaa", "abcde", 100 * (1 / 5 * (1 / 2 / 4) * (1 / 4 / 3) * (1 / 8 / 2)) ** 0.25),  # clipped counts
        ("xyxyx", "abcde", 0.0),
        ("", "abcde", 0.0),
    ],
)
def test_by_hand(prediction: str, reference: str, bleu: float) -> None:
    metric = Bleu4("bo")
    metric.update([_text(prediction)], [_text(reference)])
    assert metric.compute().item() == pytest.approx(bleu)


@pytest.mark.parametrize(
    ("code", "predictions", "references"),
    [
        ("bo", ["བོད་ཡིག་སློབ་སྦྱོང་བྱེད། ང་དགའ།", "ང་ལ་དེབ་མེད།"], ["བོད་ཡིག་སློབ་སྦྱོང་བྱེད་དང༌། ང་དགའ།", "ང་ལ་དེབ་ཡོད།"]),
        (
            "zh",
            ["人人生而自由，在尊严上平等。", "第2条 DNA"],
            ["人人生而自由，在尊严和权利上一律平等。", "第2条 DNA 检测"],
        ),
        ("en", ["The cat sat on the mat .", "don't"], ["The cat is on the mat.", "Don't go!"]),
    ],
)
def test_corpus_and_sentences_are_sacrebleus(code: str, predictions: list[str], references: list[str]) -> None:
    cut = [[" ".join(get_language(code).segment(text)) for text in texts] for texts in (predictions, references)]
    metric = Bleu4(code)
    metric.update(predictions, references)
    oracle = sacrebleu.BLEU(tokenize="none", force=True)
    assert metric.compute().item() == pytest.approx(oracle.corpus_score(cut[0], [cut[1]]).score, abs=1e-9)
    unit = get_language(code).unit
    assert metric.signature == f"{oracle.get_signature()}|seg:{unit}|lang:{code}"
    sentence = sacrebleu.BLEU(tokenize="none", force=True, effective_order=True)
    expected = [sentence.sentence_score(text, [reference]).score for text, reference in zip(*cut, strict=True)]
    assert metric.per_row(predictions, references) == pytest.approx(expected, abs=1e-9)


def test_short_sentences_have_effective_order() -> None:
    metric = Bleu4("bo")
    assert metric.per_row([_text("ab")], [_text("ab")]) == pytest.approx([100.0])
    metric.update([_text("ab")], [_text("ab")])
    assert metric.compute() == 0.0  # the corpus has no 4-gram


def test_tsheg_and_space_are_no_units() -> None:
    metric = Bleu4("bo")
    metric.update(["ཀ་ཁ་ག་ང་།"], ["ཀ་ཁ་ག་ང ། "])
    assert metric.compute().item() == pytest.approx(100.0)


def test_signature() -> None:
    version = sacrebleu.__version__
    signature = f"nrefs:1|case:mixed|eff:no|tok:none|smooth:exp|version:{version}|seg:syllable|lang:bo"
    assert Bleu4("bo").signature == signature
