"""Identification trained on a corpus: languages in Latin letters, which no rule of characters tells apart."""

from __future__ import annotations

import json
import logging
import math
import random
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest

from semalign_pl.languages import Language, get_language
from semalign_pl.languages.corpus_identification import NgramClassifier, ngrams
from semalign_pl.metrics import LanguageConsistency
from semalign_pl.rewards import LanguageReward
from semalign_pl.run.grounds import _identification_model
from semalign_pl.types import Example

SWAHILI = (
    "mtoto anasoma kitabu shuleni watoto wanacheza mpira nyumbani mama anapika chakula jikoni leo asubuhi kesho jioni"
)
ENGLISH = (
    "the child reads a book at school children play football at home mother cooks food in the kitchen today morning"
)


def sentences(words: str, count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(words.split(), k=6)) + "." for _ in range(count)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    pairs = zip(sentences(SWAHILI, 150, 1), sentences(ENGLISH, 150, 2), strict=True)
    lines = [json.dumps({"sw": sw, "en": en}) for sw, en in [*pairs, ("Django", "Django")]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def language(corpus: Path, **more: object) -> Language:
    path = corpus.parent / "sw.yaml"
    own = {"corpus": str(corpus), "label": "sw", "against": ["en"], **more}
    entry = {"code": "sw", "name": "Swahili", "like": "en", "identification": own}
    path.write_text(json.dumps({**entry, "identification": {k: v for k, v in own.items() if v is not None}}))
    return get_language(str(path))


def test_the_copy_exploit_of_a_latin_target_is_caught(corpus: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A copy of the source passes the rule of characters and earns the whole reward; identification refuses it."""
    caplog.set_level(logging.INFO)
    sources, answers = sentences(ENGLISH, 20, 3), sentences(SWAHILI, 20, 4)
    examples = [
        Example(str(i), source, answer, {"en": source})
        for i, (source, answer) in enumerate(zip(sources, answers, strict=True))
    ]
    assert (
        LanguageReward("en")(examples, sources).tolist()
        == LanguageReward("en")(examples, answers).tolist()
        == [1.0] * 20
    )
    strict = language(corpus)
    reward = LanguageReward(str(corpus.parent / "sw.yaml"))
    assert reward(examples, sources).tolist() == [0.0] * 20
    assert reward(examples, answers).tolist() == [1.0] * 20
    assert reward(examples[:3], ["", "2024", "།"]).tolist() == [0.0] * 3
    assert reward.check_references(examples) is None
    copied = LanguageReward(str(corpus.parent / "sw.yaml"), allow=["source"])
    assert copied(examples, sources).tolist() == [0.0] * 20
    metric = LanguageConsistency(strict)
    metric.update([*sources, *answers], [""] * 40)
    assert metric.compute() == 0.5
    assert "of 15 texts not trained on, it recognises 100.0% of 'sw', 100.0% of 'en'" in caplog.text


def test_probabilities_are_naive_bayes() -> None:
    texts = {"sw": sentences(SWAHILI, 5, 1), "en": sentences(ENGLISH, 7, 2)}
    classifier = NgramClassifier(texts)
    counts = {label: Counter(g for text in own for g in ngrams(text)) for label, own in texts.items()}
    known = counts["sw"].keys() | counts["en"].keys()
    for text in ("mtoto at school", "xyz child 7", sentences(SWAHILI, 1, 9)[0]):
        likelihood = {
            label: math.prod(
                Fraction(2 * own[gram] + 1, 2 * own.total() + len(known)) for gram in ngrams(text) if gram in known
            )
            for label, own in counts.items()
        }
        wanted = float(likelihood["sw"] / sum(likelihood.values()))
        assert classifier.probabilities(text)["sw"] == pytest.approx(wanted, rel=1e-9)
    assert list(ngrams("Ab 12!")) == [" ", "a", "b", " ", " a", "ab", "b ", " ab", "ab ", " ab "]


def test_signature_and_grounds_follow_the_corpus(corpus: Path) -> None:
    strict = language(corpus, min_probability=0.7)
    assert "identified:pairs.jsonl#" in strict.rule_signature and "|label:sw:en|min_p:0.7" in strict.rule_signature
    assert _identification_model(str(corpus.parent / "sw.yaml")) == str(corpus)
    before = strict.rule_signature
    corpus.write_text(corpus.read_text(encoding="utf-8") + json.dumps({"sw": "leo", "en": "today"}) + "\n")
    assert strict.rule_signature != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"against": None}, r"sw.yaml: identification: .* is not a mapping of .*, or of corpus, label, against, min_p"),
        ({"against": "en"}, r"identification: against: 'en' is not a list of texts"),
        ({"against": ["sw"]}, r"identification: against: \['sw'\] must name the columns of other languages"),
        ({"min_probability": 2}, r"identification: min_probability: 2 is not above 0"),
        ({"label": "swh"}, r"identification: corpus: .*no column 'swh'"),
        ({"against": ["sw", "en"]}, r"must name the columns of other languages"),
    ],
)
def test_mistakes(corpus: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        language(corpus, **change).is_consistent("mtoto")


def test_too_few_rows_are_refused(tmp_path: Path) -> None:
    (tmp_path / "few.jsonl").write_text('{"sw": "mtoto", "en": "child"}\n' * 99)
    with pytest.raises(ValueError, match=r"few.jsonl has 99 rows whose columns differ, too few .*give 100 or more"):
        language(tmp_path / "few.jsonl").is_consistent("mtoto")
