"""Checks of verifiable instructions: hand-made answers of every kind, other languages, and the probe's scores."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from semalign_pl.languages import get_language
from semalign_pl.policy.load import load_policy
from semalign_pl.probes import InstructionProbe
from semalign_pl.probes.instruction_kinds import KINDS, follow, read_instruction
from semalign_pl.probes.instruction_language import TextRules

AT_LEAST, LESS = "at least", "less than"
BY_HAND: list[tuple[str, dict[str, object], list[str], list[str]]] = [  # kind, arguments, followed by, not followed by
    ("keywords:existence", {"keywords": ["cat", "C++"]}, ["Cats like c++."], ["A cat."]),
    (
        "keywords:frequency",
        {"keyword": "cat", "frequency": 2, "relation": AT_LEAST},
        ["Cat, cats"],
        ["A cat."],
    ),
    ("keywords:frequency", {"keyword": "cat", "frequency": 2, "relation": LESS}, ["A cat."], ["Cat, cats"]),
    ("keywords:forbidden_words", {"forbidden_words": ["cat", "dog"]}, ["Cats and hotdogs"], ["A CAT.", "dog"]),
    ("keywords:letter_frequency", {"letter": "E", "let_frequency": 3, "let_relation": AT_LEAST}, ["Eve, be"], ["Eve"]),
    ("keywords:letter_frequency", {"letter": "!", "let_frequency": 1, "let_relation": LESS}, ["No."], ["No!"]),
    (
        "language:response_language",
        {"language": "de"},
        ["Das ist ein ganz einfacher deutscher Satz über das Wetter.", "12345"],
        ["This is a simple English sentence about the weather."],
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": AT_LEAST},
        ["Dr. Smith came. He sat."],
        ["Dr. Smith came."],
    ),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": LESS}, ["It is 3.5 m."], ["No. Yes."]),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, ["a\n***\nb", "***\na *** b\n***"], ["a\n\nb"]),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, ["a***b"], ["a\n***\n***\nb", "a***b***c"]),
    ("length_constraints:number_words", {"num_words": 4, "relation": AT_LEAST}, ["I don't know."], ["I do know."]),
    ("length_constraints:number_words", {"num_words": 4, "relation": LESS}, ["I do know."], ["I don't know."]),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "The"},
        ['One.\n\n"the cat', "One.\n\nThe, cat"],
        ["One.\n\nThey are", "The\n\nTwo", "One.\nThe", "One.\n\nThe\n\nThree"],
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, ["[name], [a b]"], ["[name] (b)", "[a\nb][c]"]),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, ["Bye.\nP.S. Me", "p. s. x"], ["Bye. PS me"]),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["p.p.s me"], ["P.S. me"]),
    ("detectable_content:postscript", {"postscript_marker": "Note+"}, ["note+ me"], ["note me"]),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* a\n- b", "Two:\n * a\n * b"],
        ["* a", "**a**\n* b"],
    ),
    (
        "detectable_format:constrained_response",
        {},
        ["My answer is yes.", "Well: My answer is maybe. Bye."],
        ["My answer is YES.", "yes"],
    ),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        ["*a* and *b c*", "**a**" + " *b*"],
        ["*a* and * *", "*a\nb* *c*"],
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 2},
        ["Section 1\na\nSection 2\nb", "Section1 Section2"],
        ["Section 1\na", "SECTION 1 SECTION 2", "Section A Section B"],
    ),
    ("detectable_format:json_format", {}, ['{"a": [1]}', "```json\n[1]\n```", "```\n7\n```"], ["{a: 1}", "Sure: {}"]),
    ("detectable_format:title", {}, ["<<A title>>\ntext"], ["<A title>", "<< >>", "<<a\nb>>"]),
    (
        "combination:two_responses",
        {},
        ["a\n******\nb", "******a******b******"],
        ["a", "a******a", "a******b******c", "a************b"],
    ),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi. "}, [" say HI. Hi!"], ["Hi! Say hi."]),
    (
        "startend:end_checker",
        {"end_phrase": "Any questions?"},
        ['x "any questions?"', "Any questions? "],
        ["Any questions"],
    ),
    ("startend:quotation", {}, ['"a b"', ' "a" '], ["“a b”", '"a', '"']),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": AT_LEAST},
        ["I AM here", "NATO, USA."],
        ["I am here", "Nato"],
    ),
    (
        "change_case:english_capital",
        {},
        ["THIS IS A SIMPLE SENTENCE ABOUT THE WEATHER."],
        ["THIS is a sentence.", "ÉTÉ ÜBER ÄHNLICHE ÄRGER FÜR ÖFFENTLICHE ÜBUNGEN", "123"],
    ),
    (
        "change_case:english_lowercase",
        {},
        ["this is a simple sentence about the weather."],
        ["This is a sentence.", "das ist ein einfacher satz über das wetter."],
    ),
    ("punctuation:no_comma", {}, ["No; none."], ["No, one."]),
]


def is_followed(kind: str, given: Mapping[str, object], text: str, language: str = "en", loose: bool = False) -> bool:
    rules = TextRules(get_language(language))
    return follow([read_instruction("here", kind, given, rules)], text, rules, loose)[0]


@pytest.mark.parametrize(("kind", "given", "followed", "not_followed"), BY_HAND, ids=[row[0] for row in BY_HAND])
def test_by_hand(kind: str, given: dict[str, object], followed: list[str], not_followed: list[str]) -> None:
    assert [is_followed(kind, given, text) for text in followed] == [True] * len(followed)
    assert [is_followed(kind, given, text) for text in [*not_followed, " \n"]] == [False] * (len(not_followed) + 1)


def test_every_published_kind_has_an_answer_by_hand() -> None:
    assert len(KINDS) == 25 and {row[0] for row in BY_HAND} == set(KINDS)


def test_the_same_as_the_published_code() -> None:
    """Verdicts of lm-eval 0.4.13's task ifeval on made-up answers, strict and loose; recorded: it needs a download."""
    lines = (Path(__file__).parent / "ifeval_verdicts.jsonl").read_text(encoding="utf-8").splitlines()
    recorded = [json.loads(line) for line in lines]
    assert {row["kind"] for row in recorded} == set(KINDS) and len(recorded) > 150
    for row in recorded:
        verdicts = [is_followed(row["kind"], row["given"], row["text"], loose=loose) for loose in (False, True)]
        assert verdicts == [row["strict"], row["loose"]], row


@pytest.mark.parametrize(
    ("text", "strict", "loose"),
    [
        ("no comma", True, True),
        ("Sure, here it is:\nno comma", False, True),
        ("no comma\nBye, bye", False, True),
        ("Sure, it is:\nno comma\nBye, bye", False, True),
        ("a, b\nc, d", False, False),
    ],
)
def test_loose_drops_lines(text: str, strict: bool, loose: bool) -> None:
    assert is_followed("punctuation:no_comma", {}, text) == strict
    assert is_followed("punctuation:no_comma", {}, text, loose=True) == loose


def test_loose_drops_asterisks() -> None:
    asked = ("startend:end_checker", {"end_phrase": "the end"}, "*The end*")
    assert not is_followed(*asked) and is_followed(*asked, loose=True)


@pytest.mark.parametrize(
    ("language", "kind", "given", "followed", "not_followed"),
    [
        ("zh", "length_constraints:number_words", {"num_words": 5, "relation": AT_LEAST}, "他住在北京。", "他在北京。"),
        ("zh", "length_constraints:number_words", {"num_words": 5, "relation": LESS}, "他在北京。", "他住在北京。"),
        ("bo", "length_constraints:number_words", {"num_words": 4, "relation": LESS}, "ང་བོད་ལ།", "ང་བོད་ལ་འགྲོ།"),
        (
            "zh",
            "length_constraints:number_sentences",
            {"num_sentences": 2, "relation": AT_LEAST},
            "好！走吧。",
            "3.5米。",
        ),
        (
            "bo",
            "length_constraints:number_sentences",
            {"num_sentences": 2, "relation": AT_LEAST},
            "ང་འགྲོ། ཡིན།",
            "ང་འགྲོ།།",
        ),
        *(
            (
                language,
                "length_constraints:number_sentences",
                {"num_sentences": 2, "relation": AT_LEAST},
                f"{sentence}{sign} {sentence}{sign}",
                f"{sentence} 3.5 {sentence}{sign}",
            )
            for language, sentence, sign in [
                ("my", "မြန်မာ", "\u104b"),
                ("km", "ខ្មែរ", "\u17d4"),
                ("km", "ខ្មែរ", "\u17d5"),
                ("mn-Mong", "ᠮᠣᠩᠭᠣᠯ", "\u1803"),
                ("zh", "他在", "．"),
            ]
        ),
        (
            "my",
            "length_constraints:number_sentences",
            {"num_sentences": 2, "relation": LESS},
            "မြန်မာ\u104a မြန်မာ\u104b",
            "မြန်မာ\u104b မြန်မာ\u104b",
        ),
        ("my", "punctuation:no_comma", {}, "မြန်မာ\u104b", "မြန်မာ\u104a"),
        ("mn-Mong", "punctuation:no_comma", {}, "ᠮᠣᠩᠭᠣᠯ\u1803", "ᠮᠣᠩᠭᠣᠯ\u1802"),
        ("zh", "keywords:forbidden_words", {"forbidden_words": ["北京"]}, "我在南京。", "我在北京。"),
        ("zh", "keywords:frequency", {"keyword": "北京", "frequency": 2, "relation": AT_LEAST}, "北京，北京。", "北京"),
        ("bo", "keywords:existence", {"keywords": ["བོད"]}, "ང་བོད་ལ་འགྲོ།", "བོདའི་ཆེད།"),
        ("zh", "punctuation:no_comma", {}, "好、走。", "好，走。"),
        (
            "zh",
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "但是"},
            "好。\n\n“但是”他走。",
            "好。\n\n他但是走。",
        ),
        ("zh", "language:response_language", {"language": "bo"}, "ང་བོད་ལ་འགྲོ། OK", "我在北京。"),
        ("bo", "language:response_language", {"language": "zh"}, "我在北京 བོད", "ང་བོད་ལ་འགྲོ། 北"),
    ],
)
def test_other_languages_count_their_own_units(
    language: str, kind: str, given: dict[str, object], followed: str, not_followed: str
) -> None:
    assert is_followed(kind, given, followed, language) and not is_followed(kind, given, not_followed, language)


@pytest.mark.parametrize(
    ("language", "kind", "given", "wanted"),
    [
        ("zh", "change_case:english_capital", {}, "is defined for English only, and language is zh; drop the row"),
        ("bo", "detectable_format:constrained_response", {}, "is defined for English only, and language is bo"),
        (
            "bo",
            "change_case:capital_word_frequency",
            {"capital_frequency": 1, "capital_relation": LESS},
            "change_case:capital_word_frequency: Tibetan has no capital letters; drop the row",
        ),
        (
            "th",
            "length_constraints:number_sentences",
            {"num_sentences": 2, "relation": LESS},
            "length_constraints:number_sentences: Thai has no sign that ends a sentence; drop the row",
        ),
        (
            "en",
            "keywords:existance",
            {},
            "no kind of instruction 'keywords:existance'; did you mean keywords:existence?",
        ),
        ("en", "keywords:existence", {"keywords": None}, "keywords:existence: keywords is 'None', not a list of texts"),
        (
            "en",
            "length_constraints:number_words",
            {"num_words": 3, "relation": "more than"},
            "relation is 'more than'; give one of less than, at least",
        ),
        ("en", "length_constraints:number_words", {"num_words": 2.5, "relation": LESS}, "is '2.5', not a whole number"),
        (
            "en",
            "language:response_language",
            {"language": "xx"},
            "no rule tells whether a text is in 'xx'; drop the row",
        ),
    ],
)
def test_refusals(language: str, kind: str, given: dict[str, object], wanted: str) -> None:
    with pytest.raises(ValueError, match=f"^here: .*{re.escape(wanted)}") as error:
        is_followed(kind, given, "", language)
    assert "\n" not in str(error.value)


def write(folder: Path, rows: list[object]) -> str:
    path = folder / "ifeval.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


ROWS: list[object] = [
    {
        "key": 1,
        "prompt": "Write without commas, and end with: The end",
        "instruction_id_list": ["punctuation:no_comma", "startend:end_checker"],
        "kwargs": [{}, {"end_phrase": "The end", "num_words": None}],
    },
    {"key": 2, "prompt": "Write JSON.", "instruction_id_list": ["detectable_format:json_format"], "kwargs": [None]},
]


def test_scores_by_hand(tmp_path: Path) -> None:
    probe = InstructionProbe(write(tmp_path, ROWS))
    first, second = (
        probe._score(prompt, text) for prompt, text in zip(probe.prompts, ("Hi, the end", "{}"), strict=True)
    )
    assert first.id == "ifeval.jsonl:1" and first.text == "Hi, the end"
    assert first.statistics == {
        "ifeval_prompt_strict": [0.0],
        "ifeval_instruction_strict": [100.0, 2.0],
        "ifeval_prompt_loose": [0.0],
        "ifeval_instruction_loose": [100.0, 2.0],
    }
    assert second.statistics["ifeval_prompt_strict"] == [100.0]
    assert second.statistics["ifeval_instruction_loose"] == [100.0, 1.0]


def test_real_responses(tmp_path: Path, base: str) -> None:
    policy = load_policy(base, "fp32", None, None, torch.device("cpu"))
    measured = InstructionProbe(write(tmp_path, ROWS), max_new_tokens=4).measure(policy)
    assert list(measured.scores) == [
        f"ifeval_{level}_{kind}" for kind in ("strict", "loose") for level in ("prompt", "instruction")
    ]
    followed = sum(item.statistics["ifeval_instruction_strict"][0] for item in measured.items)
    assert measured.scores["ifeval_instruction_strict"].value == pytest.approx(followed / 3)
    signature = measured.scores["ifeval_instruction_strict"].signature
    for fact in ("instruction_strict|prompts:2|instructions:3|", "max_new:4|", "checks:ifeval-1|words:ifeval|"):
        assert fact in signature


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ({"prompt": "x", "kwargs": []}, "no column 'instruction_id_list'; the columns are prompt, kwargs"),
        ({"prompt": "x", "kwargs": [], "instruction_id_list": ["a:b"]}, "must be lists of the same length"),
        (
            {"prompt": "", "kwargs": [{}], "instruction_id_list": ["a:b"]},
            "ifeval.jsonl:1: 'prompt', the field prompt, is",
        ),
        ({"prompt": "x", "kwargs": ["y"], "instruction_id_list": ["a:b"]}, "kwargs has 'y', not an object"),
    ],
)
def test_file_errors(tmp_path: Path, row: dict[str, object], wanted: str) -> None:
    with pytest.raises(ValueError, match=f"^InstructionProbe.file: .*{re.escape(wanted)}"):
        InstructionProbe(write(tmp_path, [row]))
