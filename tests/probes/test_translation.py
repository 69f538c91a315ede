"""TranslationProbe: a direction that is not trained, against sacrebleu, and in a test beside the trained one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

import semalign_pl.toy
from semalign_pl.data.tasks import Instruction, Translation
from semalign_pl.policy.load import load_policy
from semalign_pl.probes import TranslationProbe

WEIGHTS = Path(semalign_pl.toy.__file__).parent / "weights"
TEXTS = ("老师在学校看书。", "学生在家里吃饭。", "今天天气很好。")


@pytest.fixture
def pairs(tmp_path: Path) -> str:
    """Pairs whose source is to be copied, which the miniature base can do; one reference differs."""
    path = tmp_path / "pairs.jsonl"
    rows = [{"from": text, "zh": text.replace("天气很好", "我们吃饭")} for text in TEXTS]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_scores_are_sacrebleu_s(pairs: str) -> None:
    policy = load_policy(str(WEIGHTS / "base"), "fp32", None, None, torch.device("cpu"))
    task = Translation("from", "zh", prompt="把下面的中文抄写成中文：{source}")
    probe = TranslationProbe(pairs, task, encoder=str(WEIGHTS / "encoder"), max_new_tokens=16)
    with policy.inference():
        measured = probe.measure(policy)
    outputs, references = (
        [item.text or "" for item in measured.items],
        [example.reference for example in probe.examples],
    )
    cut = [[" ".join(text) for text in texts] for texts in (outputs, references)]
    expected = {
        "from-zh_chrf": CHRF(word_order=2).corpus_score(cut[0], [cut[1]]).score,
        "from-zh_bleu": BLEU(tokenize="none", force=True).corpus_score(cut[0], [cut[1]]).score,
    }
    assert 0 < expected["from-zh_bleu"] < 100
    assert {name: measured.scores[name].value for name in expected} == pytest.approx(expected)
    assert 0 < measured.scores["from-zh_similarity"].value < 1
    assert [(item.set, item.id) for item in measured.items] == [("from-zh", f"pairs.jsonl:{n}") for n in (1, 2, 3)]
    for name, score in measured.scores.items():
        assert score.items == "from-zh" and name in measured.items[0].statistics
        assert "|rows:3|seed:0|decode:greedy|max_new:16|" in score.signature and "抄写成中文" in score.signature


def test_the_task_says_languages_columns_and_prompt(corpus: Path) -> None:
    probe = TranslationProbe(str(corpus / "dev.jsonl"), Translation("bo", "zh"), limit=3, seed=2)
    first = probe.examples[0]
    assert (probe.name, len(probe.examples)) == ("bo-zh", 3) and probe.metrics["bo-zh_chrf"].signature.endswith(
        "lang:zh"
    )
    assert first.reference == first.columns["zh"] and first.prompt == f"把下面的藏文翻译成中文：{first.columns['bo']}"
    renamed = TranslationProbe(
        str(corpus / "dev.jsonl"), Translation("ug", "zh"), columns={"ug": "bo"}, limit=3, seed=2
    )
    assert [example.reference for example in renamed.examples] == [example.reference for example in probe.examples]


def test_mistakes(corpus: Path) -> None:
    file = str(corpus / "dev.jsonl")
    with pytest.raises(ValueError, match="^TranslationProbe.limit: 0 is not a positive whole number"):
        TranslationProbe(file, Translation(), limit=0)
    with pytest.raises(ValueError, match="^TranslationProbe.file: .*no column 'ug' for the field ug; the columns are"):
        TranslationProbe(file, Translation("ug", "zh"))
    with pytest.raises(ValueError, match="^TranslationProbe.task: it names no language of the completion"):
        TranslationProbe(file, Instruction("{zh}", "{bo}", language=None))
