"""Scores that favour no style, against sacrebleu and counts by hand."""

import json
import math
import random

import pytest
from helpers.small_runs import Runs
from lightning.pytorch import LightningModule, Trainer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from semalign_pl.languages import get_language
from semalign_pl.toy import generator
from semalign_pl.toy.conditions import style_speech
from semalign_pl.toy.meaning_scores import AnyStyleBleu4, AnyStyleChrF, MeaningScores, StyleVariation, style_shares
from semalign_pl.toy.style import NAMED, PLAIN, draw, tibetan, wordings

RNG = random.Random(0)
DRAWN = (generator.draw(RNG, range(10)) for _ in range(10_000))
MEANINGS = [m for m in DRAWN if PLAIN.shown_in(m) == PLAIN][:12]
REFERENCES = [tibetan(meaning, draw(RNG)) for meaning in MEANINGS]


def test_any_wording_of_the_meaning_is_a_perfect_translation() -> None:
    others = [tibetan(meaning, draw(RNG)) for meaning in MEANINGS]
    assert sum(text != reference for text, reference in zip(others, REFERENCES, strict=True)) > 6
    for metric in (AnyStyleChrF("bo"), AnyStyleBleu4("bo")):
        metric.update(others, REFERENCES)
        assert float(metric.compute()) == pytest.approx(100) and "nrefs:var" in metric.signature


def test_several_references_are_scored_as_by_sacrebleu() -> None:
    wrong = [tibetan(generator.neighbour(RNG, meaning), draw(RNG)) for meaning in MEANINGS]
    segment = get_language("bo").segment

    def cut(texts: list[str]) -> list[str]:
        return [" ".join(segment(text)) for text in texts]

    streams = [cut(list(stream)) for stream in zip(*(wordings(meaning) for meaning in MEANINGS), strict=True)]
    assert len(streams) == 32
    theirs = [CHRF(word_order=2), BLEU(tokenize="none", force=True)]
    for own, oracle in zip((AnyStyleChrF("bo"), AnyStyleBleu4("bo")), theirs, strict=True):
        own.update(wrong, REFERENCES)
        assert float(own.compute()) == pytest.approx(oracle.corpus_score(cut(wrong), streams).score)
        assert 10 < float(own.compute()) < 99


def test_styles_are_counted() -> None:
    meaning = MEANINGS[0]
    texts = [tibetan(meaning, NAMED[name]) for name in ("plain", "honorific", "honorific", "opposite")] + ["ཀ་ཁ།"]
    assert style_shares(texts) == {
        "honorific": 0.75,
        **dict.fromkeys(("synonym", "after_subject", "after_object", "witnessed"), 0.25),
    }
    assert all(map(math.isnan, style_shares([]).values()))
    usual = {"honorific": 0.5, "synonym": 0.0, "after_subject": 0.25, "after_object": 1.0, "witnessed": 0.25}
    metric = StyleVariation(usual)
    metric.update(texts, [REFERENCES[0]] * 5)
    assert float(metric.compute()) == pytest.approx((0.25 + 0.25 + 0 + 0.75 + 0) / 5)


@pytest.mark.parametrize("usual", [{"honorific": 0.5}, dict.fromkeys([*list(NAMED)[1:-1]], 1.5)])
def test_usual_shares_are_checked(usual: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="MeaningScores.usual: .*; give a number from 0 to 1 for each of honorific, "):
        MeaningScores(usual)


def test_a_test_has_these_scores(runs: Runs) -> None:
    speech = style_speech(0, 0.0)
    pairs = runs.folder / "pairs.jsonl"
    rows = [json.dumps(row, ensure_ascii=False) for row in generator.pairs(0, "test", 3, speech)]
    pairs.write_text("\n".join(rows) + "\n", encoding="utf-8")
    scores = [{"class_path": "semalign_pl.toy.meaning_scores.MeaningScores"}, {"class_path": "Evaluation"}]
    runs("test", "sft", "run", f"data.init_args.test={pairs}", "model.init_args.max_new_tokens=3", callbacks=scores)
    metrics = runs.results()["metrics"]
    assert metrics["meaning_accuracy"]["value"] == metrics["parsed"]["value"] == 0
    assert metrics["chrf_any_style"]["value"] >= 0 and "nrefs:var" in metrics["chrf_any_style"]["signature"]


def test_without_evaluation_there_is_nothing_to_add_to() -> None:
    scores = MeaningScores()
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[scores])
    with pytest.raises(ValueError, match="MeaningScores adds to the scores of Evaluation; add Evaluation, too"):
        scores.setup(trainer, LightningModule(), "test")
