"""Reading-comprehension probe: its file, its prompts, its scores."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from semalign_pl.data.prompts import prompt_languages
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings
from semalign_pl.probes import ReadingComprehensionProbe
from semalign_pl.probes import reading_comprehension as module
from semalign_pl.toy.prompt import PROMPT


@pytest.fixture(scope="module")
def policy(base: str) -> Policy:
    return load_policy(base, "fp32", LoraSettings(4, 8, 0.2), None, torch.device("cpu"))


def write(folder: Path, *questions: tuple[str, str, list[str]]) -> str:
    """File in CMRC's form, of (context, question, answers)."""
    paragraphs = [
        {"id": f"p{i}", "context": context, "qas": [{"id": f"q{i}", "question": question, "answers": answers}]}
        for i, (context, question, texts) in enumerate(questions)
        for answers in [[{"text": text, "answer_start": 0} for text in texts]]
    ]
    path = folder / "reading.json"
    path.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}, ensure_ascii=False), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b'{"data": [', "not valid JSON.*give a CMRC 2018 file"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
        (b'{"dat": []}', "not in SQuAD style \\(KeyError: 'data'\\)"),
        (b"[]", "not in SQuAD style \\(TypeError"),
        (b'{"data": [{"paragraphs": [{"context": "x", "qas": [{"id": "1"}]}]}]}', "KeyError: 'question'"),
        (b'{"data": []}', "there is no question in it"),
        (
            b'{"data": [{"paragraphs": [{"context": "x", "qas": [{"id": "7", "question": "y", "answers": []}]}]}]}',
            "question 7 has no answer; every question needs at least one",
        ),
    ],
)
def test_file_errors(tmp_path: Path, content: bytes, wanted: str) -> None:
    path = tmp_path / "reading.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"(?s)ReadingComprehensionProbe.file: {re.escape(str(path))}.*{wanted}"):
        ReadingComprehensionProbe(str(path))
    with pytest.raises(ValueError, match="ReadingComprehensionProbe.file: there is no file .*none.json; check"):
        ReadingComprehensionProbe(str(tmp_path / "none.json"))


def test_scores_by_hand(tmp_path: Path, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three answers one is exact, one shares 2 of 3 and 4 segments, and one shares nothing."""
    file = write(tmp_path, ("甲", "问", ["老师"]), ("乙", "问", ["学校里", "在家"]), ("丙", "问", ["山"]))
    probe = ReadingComprehensionProbe(file, name="r")
    answers = ["老师。", "在学校", "水"]

    def answered(*args: Any, **options: Any) -> Any:
        assert options["max_new_tokens"] == 32 and "temperature" not in options
        return type("Rollouts", (), {"texts": answers})

    monkeypatch.setattr(module, "generate", answered)
    measurement = probe.measure(policy)
    scores = measurement.scores
    em, f1 = 100 / 3, 100 * (1 + 2 * 2 / (3 + 3) + 0) / 3
    assert scores["r_em"].value == pytest.approx(em)
    assert scores["r_f1"].value == pytest.approx(f1)
    assert scores["r_avg"].value == pytest.approx((em + f1) / 2)
    half = 100 * 2 * 2 / (3 + 3)
    assert [(item.set, item.id, item.text) for item in measurement.items] == [
        ("r", f"q{i}", answer) for i, answer in enumerate(answers)
    ]
    assert measurement.items[0].statistics == {"r_em": [100.0], "r_f1": [100.0], "r_avg": [100.0]}
    assert measurement.items[1].statistics == {
        "r_em": [0.0],
        "r_f1": [pytest.approx(half)],
        "r_avg": [pytest.approx(half / 2)],
    }
    assert measurement.items[2].statistics == {"r_em": [0.0], "r_f1": [0.0], "r_avg": [0.0]}
    assert all((score.items, score.formula) == ("r", "mean") for score in scores.values())
    low, high = scores["r_em"].ci
    assert low == 0 and em < high <= 100
    assert scores["r_avg"].signature.startswith("avg|questions:3|seed:0|answers:generated|decode:greedy|max_new:32|")


def test_answers_are_really_generated(corpus: Path, policy: Policy) -> None:
    scores = ReadingComprehensionProbe(str(corpus / "reading.json"), max_new_tokens=5).measure(policy).scores
    assert set(scores) == {"cmrc_em", "cmrc_f1", "cmrc_avg"}
    assert "|cut:0|" in scores["cmrc_em"].signature


def test_a_long_context_is_cut_and_the_question_never(tmp_path: Path, policy: Policy) -> None:
    context = "老师在学校看书。" * 60
    file = write(tmp_path, (context, "谁在家里吃饭？", ["老师"]), ("学生在山上。", "谁在山上？", ["学生"]))
    probe = ReadingComprehensionProbe(file, max_prompt_tokens=150)
    prompts, cut = probe._prompts(policy)
    assert cut == 1 and "|cut:1|" in probe.measure(policy).scores["cmrc_em"].signature
    long, short = (policy.encoder.tokenizer.decode(ids) for ids in prompts)
    assert len(prompts[0]) <= 150 and "问题：谁在家里吃饭？" in long and "问题：谁在山上？" in short
    kept = long.split("短文：")[1].split("\n问题：")[0]
    assert context.startswith(kept) and len(kept) > 30
    one_more = module.default_prompt("zh").format(context=context[: len(kept) + 1], question="谁在家里吃饭？")
    assert len(policy.encoder.encode_prompt(one_more, 10_000)) > 150  # as much of it as fits
    assert "学生在山上。" in short


def test_limit_draws_by_seed_in_file_order(tmp_path: Path) -> None:
    file = write(tmp_path, *((f"文{i}", f"问{i}", ["答"]) for i in range(20)))
    drawn = [q.id for q in ReadingComprehensionProbe(file, limit=5, seed=1).questions]
    assert drawn == [q.id for q in ReadingComprehensionProbe(file, limit=5, seed=1).questions]
    assert drawn == sorted(drawn, key=lambda id: int(id[1:])) and len(set(drawn)) == 5
    assert drawn != [q.id for q in ReadingComprehensionProbe(file, limit=5, seed=2).questions]


def test_another_prompt_is_filled_in_one_pass_and_told_in_the_signature(tmp_path: Path, policy: Policy) -> None:
    file = write(tmp_path, ("学生在{question}上。", "谁？", ["学生"]))
    prompts = {
        name: ReadingComprehensionProbe(file, **given)
        for name, given in {"own": {"prompt": "{0} {question} 问：{context}"}, "default": {}}.items()
    }
    said = {name: policy.encoder.tokenizer.decode(probe._prompts(policy)[0][0]) for name, probe in prompts.items()}
    assert "{0} 谁？ 问：学生在{question}上。" in said["own"]
    assert module.default_prompt("zh").format(context="学生在{question}上。", question="谁？") in said["default"]
    signatures = {name: probe.measure(policy).scores["cmrc_f1"].signature for name, probe in prompts.items()}
    told = "|prompt:'{0} {question} 问：{context}'"
    assert told in signatures["own"] and signatures["own"].replace(told, "") == signatures["default"]


def test_a_prompt_without_a_text_is_refused(tmp_path: Path) -> None:
    asked, empty = (tmp_path / name for name in ("asked", "empty"))
    for folder, question in ((asked, "谁？"), (empty, "")):
        folder.mkdir()
        write(folder, ("山", question, ["山"]))
    assert ReadingComprehensionProbe(str(empty / "reading.json"), prompt="抄写：{context}").questions
    for folder, prompt, missing in ((asked, "抄写：{context}", "{question}"), (empty, "抄写：", "{context}")):
        with pytest.raises(ValueError, match=re.escape(f".prompt: {prompt!r} has no {missing}; put it where")):
            ReadingComprehensionProbe(str(folder / "reading.json"), prompt=prompt)


# -- other languages, and questions without an answer -----------------------------------------------------------------


def score(probe: ReadingComprehensionProbe, *answers: str) -> list[list[float]]:
    """Exact match and F1 of an answer to each question."""
    items = [probe._score(question, text) for question, text in zip(probe.questions, answers, strict=True)]
    return [[item.statistics[f"{probe.name}_{key}"][0] for key in ("em", "f1")] for item in items]


def test_the_default_prompts_are_data_and_the_chinese_one_is_that_of_the_miniature_world() -> None:
    assert module.default_prompt("zh") == PROMPT
    for code in prompt_languages():
        for no_answer in (False, True):
            prompt = module.default_prompt(code, no_answer)
            assert ("{no_answer}" in prompt) == no_answer and "{context}" in prompt and "{question}" in prompt


def test_english_by_the_rules_of_squad(tmp_path: Path, policy: Policy) -> None:
    file = write(tmp_path, ("By the Rhine.", "Where?", ["Rhine"]), ("In 1963.", "When?", ["1963"]))
    probe = ReadingComprehensionProbe(file, language="en", max_new_tokens=2)
    assert score(probe, "the rhine", "in the year 1963") == [[100.0, 100.0], [0.0, 50.0]]
    signature = probe.measure(policy).scores["squad_f1"].signature
    assert "|scorer:squad-2.0|scale:100|prompt:'Read the text and answer" in signature
    asked = policy.encoder.tokenizer.decode(probe._prompts(policy)[0][0])
    assert "Text: By the Rhine.\nQuestion: Where?" in asked


def test_tibetan_by_syllables(tmp_path: Path) -> None:
    file = write(tmp_path, ("ཁོ་ལྷ་ས་ལ་ཡོད།", "ཁོ་གང་ལ་ཡོད།", ["ལྷ་ས།"]))
    probe = ReadingComprehensionProbe(file, language="bo")
    assert probe.name == "reading_bo" and "གཤམ་གྱི་རྩོམ་ཡིག" in probe.prompt
    assert score(probe, "ལྷ་ས་ལ།") == [[0.0, pytest.approx(80.0)]]  # precision 2/3, recall 1


def test_a_language_without_a_prompt_needs_one(tmp_path: Path) -> None:
    file = write(tmp_path, ("x", "y", ["z"]))
    with pytest.raises(
        ValueError, match="^ReadingComprehensionProbe.prompt: there is no prompt in 'mn', only in zh, en"
    ):
        ReadingComprehensionProbe(file, language="mn")
    assert ReadingComprehensionProbe(file, language="mn", prompt="{context} {question}").name == "reading_mn"
    with pytest.raises(ValueError, match="^ReadingComprehensionProbe.no_answer_words: there is none for 'mn'"):
        ReadingComprehensionProbe(squad2(tmp_path), language="mn", prompt="{context} {question}")
    with pytest.raises(ValueError, match="^ReadingComprehensionProbe.prompt: .* has {no_answer}, and every question"):
        ReadingComprehensionProbe(file, prompt="{context} {question} {no_answer}")


def squad2(folder: Path) -> str:
    """File in SQuAD 2.0's form: an answered question, and one that the text does not answer."""
    qas = [
        {"id": "a", "question": "Where?", "answers": [{"text": "the"}, {"text": "Rhine"}], "is_impossible": False},
        {"id": "b", "question": "When?", "answers": [], "plausible_answers": [{"text": "x"}], "is_impossible": True},
    ]
    path = folder / "squad2.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [{"context": "By the Rhine.", "qas": qas}]}]}), "utf-8")
    return str(path)


def test_unanswerable_questions_by_the_rules_of_squad_2(tmp_path: Path, policy: Policy) -> None:
    """By hand: EM and F1 of a question without an answer are 1 for no answer, and 0 for any."""
    probe = ReadingComprehensionProbe(squad2(tmp_path), language="en", max_new_tokens=2)
    assert "write: unanswerable\nText" in probe.prompt
    right, none, wrong = [100.0, 100.0], [0.0, 0.0], [0.0, pytest.approx(200 / 3)]
    assert score(probe, "Rhine", "Unanswerable.") == [right, right]
    assert score(probe, "", "") == [none, right]
    assert score(probe, "unanswerable", "1963") == [none, none]
    assert score(probe, "a big Rhine", "the") == [wrong, right]  # an article alone is no answer
    assert score(probe, "the", "unanswerable") == [none, right]  # and no accepted one either
    signature = probe.measure(policy).scores["squad_em"].signature
    assert "|unanswerable:1|no_answer:['unanswerable']|prompt:" in signature


def test_own_no_answer_words(tmp_path: Path) -> None:
    file = write(tmp_path, ("山", "谁？", []), ("山", "哪里？", ["山"]))
    probe = ReadingComprehensionProbe(file, no_answer_words=["没有答案", "不知道"])
    assert "请回答“没有答案”" in probe.prompt and probe.name == "cmrc"
    assert score(probe, "不知道。", "不知道") == [[100.0, 100.0], [0.0, 0.0]]
    with pytest.raises(
        ValueError, match="question q0 has no answer; every .* or is_impossible: true; or give no_answer_w"
    ):
        ReadingComprehensionProbe(file)
