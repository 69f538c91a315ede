"""GenerationProbe: extraction and comparison by hand, mistakes, examples, and real answers of the miniature base."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import pytest
import torch

import semalign_pl.toy
from semalign_pl.metrics.squad_scorers import answer_scorer
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.probes import GenerationProbe, ReadingComprehensionProbe
from semalign_pl.probes.generation_answers import Match, compare, extract, to_number
from semalign_pl.toy import general
from semalign_pl.toy.prompt import PROMPT

GSM8K = [
    {"question": "Janet has 16 eggs and sells 7. How many are left?", "answer": "16 - 7 = <<16-7=9>>9\n#### 9"},
    {"question": "A house costs $1,000 and a car $40.", "answer": "1000 + 40 = 1040\n#### 1,040"},
]


def write(folder: Path, rows: Sequence[Mapping[str, object]], name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def policy() -> Policy:
    """Base model of the miniature world, which answers in Chinese."""
    folder = Path(semalign_pl.toy.__file__).parent / "weights" / "base"
    return load_policy(str(folder), "fp32", None, None, torch.device("cpu"))


@pytest.mark.parametrize(
    ("text", "rule", "answer"),
    [
        (" 42\n", None, "42"),
        ("\n  first \nsecond", "first_line", "first"),
        ("Of 3 and 4-5 it is -1,234.50.", "last_number", "-1,234.50"),
        ("Of 3 and 4", "first_number", "3"),
        ("共12个，剩3-5个", "last_number", "5"),
        ("温度为-5度", "first_number", "-5"),
        ("1, 2 and 12,34", "last_number", "34"),
        ("༡༢ ལོ", "first_number", "༡༢"),
        ("none", "last_number", ""),
        ("So: #### 7\n#### 8", "#### (.+)", "7"),
        ("(A) or (B)", r"(?s).*\(([A-D])\)", "B"),
        ("nothing", "#### (.+)", ""),
    ],
)
def test_extraction(text: str, rule: str | None, answer: str) -> None:
    assert extract(text, rule) == answer


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("$1,040.00", 1040),
        ("-3.5%", Fraction(-7, 2)),
        ("−２", -2),
        ("༡༢", 12),
        ("3/4", Fraction(3, 4)),
        (".5", Fraction(1, 2)),
        ("9.", 9),
        ("3/0", None),
        ("", None),
        (".", None),
        ("9 eggs", None),
    ],
)
def test_numbers(text: str, number: int | None) -> None:
    assert to_number(text) == number


@pytest.mark.parametrize(
    ("match", "language", "answer", "references", "right"),
    [
        ("exact", "en", " Rhine ", ["Rhine"], 1),
        ("exact", "en", "rhine", ["Rhine"], 0),
        ("exact", "en", "Rhine", ["Rhein", "Rhine"], 1),
        ("normalised", "en", "the Rhine.", ["rhine"], 1),
        ("normalised", "zh", "《莱茵河》", ["莱茵河"], 1),
        ("normalised", "bo", "ལྷ་ས།", ["ལྷ་ས་"], 1),
        ("normalised", "bo", "ལྷ་ས་ན།", ["ལྷ་ས་"], 0),
        ("number", "en", "1040.0", ["1,040"], 1),
        ("number", "en", "", ["1,040"], 0),
        ("contains", "zh", "在莱茵河边", ["莱茵河"], 1),
        ("contains", "zh", "在莱茵", ["莱茵河"], 0),
    ],
)
def test_comparison(match: Match, language: str, answer: str, references: list[str], right: float) -> None:
    assert compare(answer, references, match, answer_scorer(language)) == right


def test_arithmetic_with_exact_answers(tmp_path: Path) -> None:
    """GSM8K by YAML alone: its references hold the solution, and the answer after four hashes."""
    probe = GenerationProbe(
        write(tmp_path, GSM8K),
        prompt="{question}",
        extract="last_number",
        reference_extract="#### (.+)",
        match="number",
        name="gsm8k",
    )
    items = [probe._score(probe._questions[1], text) for text in ("It is $1,040.", "1000 + 40 = 1041", "I do not know")]
    assert [item.statistics for item in items] == [{"gsm8k_exact_match": [value]} for value in (100.0, 0.0, 0.0)]
    assert [item.id for item in items] == ["rows.jsonl:2"] * 3 and items[0].text == "It is $1,040."


def test_real_answers_are_those_of_reading_comprehension(tmp_path: Path, policy: Policy) -> None:
    """The miniature world's questions for a time, read as rows: same answers, same exact match, same F1."""
    file = tmp_path / "time.json"
    file.write_text(json.dumps(general.time_questions(0, "test", 12), ensure_ascii=False), encoding="utf-8")
    options = {"name": "time", "limit": 9, "seed": 4}
    reading = ReadingComprehensionProbe(str(file), **options).measure(policy)
    probe = GenerationProbe(str(file), PROMPT, match="f1", language="zh", max_new_tokens=32, **options)
    measured = probe.measure(policy)
    assert [item.text for item in measured.items] == [item.text for item in reading.items]
    for own, other in (("time_exact_match", "time_em"), ("time_f1", "time_f1")):
        assert measured.scores[own].value == reading.scores[other].value > 0
        assert measured.scores[own].ci == reading.scores[other].ci
    signature = measured.scores["time_f1"].signature
    for fact in ("f1|rows:9|seed:4|", "max_new:32|", "cut:0|", "examples:0|", "match:f1|scorer:cmrc2018-v6|"):
        assert fact in signature


def test_examples_are_turns_before_the_prompt(tmp_path: Path, policy: Policy) -> None:
    tested = write(tmp_path, [{"q": "问二", "a": ["二", "两"]}], "test.jsonl")
    train = write(tmp_path, [{"q": f"问{i}", "a": [f"答{i}"]} for i in "甲乙丙"], "train.jsonl")
    options = {"prompt": "问题：{q}", "reference": "a", "max_new_tokens": 2}
    probe = GenerationProbe(tested, examples=train, num_examples=2, seed=3, **options)
    shown = [(turn.role, turn.content) for turn in probe._shown]
    assert [role for role, _ in shown] == ["user", "assistant"] * 2
    assert [text.replace("问题：问", "答") for _, text in shown[::2]] == [text for _, text in shown[1::2]]
    assert "|examples:2|" in probe.measure(policy).scores["generation_exact_match"].signature
    short = GenerationProbe(tested, examples=train, num_examples=2, max_prompt_tokens=20, **options)
    assert "|cut:1|" in short.measure(policy).scores["generation_exact_match"].signature


@pytest.mark.parametrize(
    ("rows", "given", "wanted"),
    [
        (GSM8K, {"extract": "("}, "GenerationProbe.extract: '(' is no regular expression"),
        (GSM8K, {"extract": "x"}, "GenerationProbe.extract: 'x' has no group; give first_number"),
        (GSM8K, {"prompt": "Answer!"}, "GenerationProbe.prompt: 'Answer!' has no {field}"),
        (GSM8K, {"reference": "target"}, "rows.jsonl: no column 'target'; the columns are question, answer"),
        (
            GSM8K,
            {"match": "number"},
            "GenerationProbe.reference_extract: None finds no number in rows.jsonl:1: '16 - 7",
        ),
        *(
            (
                [{"question": "x", "answer": "。"}],
                {"match": match, "language": "zh"},
                "finds no answer in rows.jsonl:1: '。'",
            )
            for match in ("normalised", "contains", "f1")
        ),
        (GSM8K, {"limit": 0}, "GenerationProbe.limit: 0 is not a positive whole number"),
        (GSM8K, {"num_examples": 2}, "GenerationProbe.num_examples: 2 with examples: None; give both"),
        (GSM8K, {"language": "xx"}, "language: 'xx' is not known"),
        ([{"question": "x", "answer": ""}], {}, "GenerationProbe.file: rows.jsonl:1: 'answer' has no answer"),
        ([{"question": "x", "answer": {"a": 1}}], {}, "rows.jsonl:1: 'answer' is not text or a number but {'a': 1}"),
        ([], {}, "GenerationProbe.file: .*rows.jsonl.*no rows"),
    ],
)
def test_mistakes(tmp_path: Path, rows: list[dict[str, object]], given: dict[str, object], wanted: str) -> None:
    file = write(tmp_path, rows)
    with pytest.raises(ValueError, match=wanted if ".*" in wanted else re.escape(wanted)) as error:
        GenerationProbe(file, **{"prompt": "{question}", **given})
    assert "\n" not in str(error.value)


def test_rows_are_not_their_own_examples(tmp_path: Path) -> None:
    file = write(tmp_path, GSM8K)
    with pytest.raises(ValueError, match="GenerationProbe.examples: .* has the tested rows"):
        GenerationProbe(file, "{question}", examples=file, num_examples=1)
    with pytest.raises(ValueError, match="GenerationProbe.num_examples: 5, and .* has 2 rows; give fewer"):
        GenerationProbe(file, "{question}", examples=write(tmp_path, GSM8K, "b.jsonl"), num_examples=5)
    other = write(tmp_path, [{"question": "1 + 1?", "answer": "2"}, GSM8K[0]], "c.jsonl")
    with pytest.raises(ValueError, match="GenerationProbe.examples: c.jsonl:2 is the tested rows.jsonl:1, with its an"):
        GenerationProbe(file, "{question}", examples=other, num_examples=2)
