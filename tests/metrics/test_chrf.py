"""chrF++ against sacrebleu itself."""

import pytest
import sacrebleu

from semalign_pl.languages import get_language
from semalign_pl.metrics import ChrF

PAIRS = {
    "bo": (["བོད་ཡིག་སློབ་སྦྱོང་བྱེད།", "ང་ལ་དེབ་མེད།", ""], ["བོད་ཡིག་སློབ་སྦྱོང་དང༌།", "ང་ལ་དེབ་ཡོད།", "ཡིན།"]),
    "zh": (["人人生而自由，在尊严上平等。", "2024年"], ["人人生而自由，在尊严和权利上一律平等。", "2023年"]),
    "en": (["The cat sat on the mat.", "don't"], ["The cat is on the mat.", "Don't go!"]),
}


@pytest.mark.parametrize("code", PAIRS)
@pytest.mark.parametrize("word_order", [0, 2])
def test_corpus_and_sentences_are_sacrebleus(code: str, word_order: int) -> None:
    predictions, references = PAIRS[code]
    cut = [[" ".join(get_language(code).segment(text)) for text in texts] for texts in (predictions, references)]
    metric = ChrF(code, word_order=word_order)
    metric.update(predictions, references)
    oracle = sacrebleu.CHRF(word_order=word_order)
    assert metric.compute().item() == pytest.approx(oracle.corpus_score(cut[0], [cut[1]]).score, abs=1e-9)
    assert metric.signature == f"{oracle.get_signature()}|seg:{get_language(code).unit}|lang:{code}"
    expected = [oracle.sentence_score(text, [reference]).score for text, reference in zip(*cut, strict=True)]
    assert metric.per_row(predictions, references) == pytest.approx(expected, abs=1e-9)


def test_by_hand() -> None:
    # One of two syllables is right, each one character: character 1-grams 1/2, 2-grams 0/1; syllables 1/2, pairs 0/1.
    # Precision = recall = mean(1/2, 0, 1/2, 0) over the existing orders; F of equal numbers is the same number.
    assert ChrF("bo").per_row(["ཀ་ཁ"], ["ཀ་ག"]) == pytest.approx([25.0])
    assert ChrF("bo", word_order=0).per_row(["ཀ་ཁ"], ["ཀ་ག"]) == pytest.approx([25.0])
    assert ChrF("bo", word_order=1).per_row(["ཀ་ཁ"], ["ཀ་ག"]) == pytest.approx([100 / 3])


def test_signature() -> None:
    version = sacrebleu.__version__
    signature = f"nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:{version}|seg:syllable|lang:bo"
    assert ChrF("bo").signature == signature
