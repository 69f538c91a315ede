"""Conversations in the shapes of public data: their rules, and duplicates and leaks by their messages."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.conversations import openai, sharegpt
from helpers.corpus_files import FORMATS, folder, jsonl

from semalign_pl.data import Conversation, Translation
from semalign_pl.data.cleaning.preparation import Preparation
from semalign_pl.data.cleaning.prepare import CorpusRequest, prepare
from semalign_pl.data.reading.formats import BadRow
from semalign_pl.data.reading.sources import stream
from semalign_pl.data.storing.cache import Prepared
from semalign_pl.types import Example, Turn


def read(path: Path, task: Conversation, columns: dict[str, str] | None = None, part: str = "test") -> list[Any]:
    """Examples of a file, and its bad rows."""
    wanted = task.columns_to_read(part, columns or {})
    rows = stream(str(path), wanted, optional=task.optional, chat=task.chat(part))
    return [row if isinstance(row, BadRow) else task.example(row, id) for id, row in rows]


TALK = ("s:S", "u:A", "a:B", "u:C", "a:D")
TURNS = (Turn("system", "S"), Turn("user", "A"), Turn("assistant", "B"), Turn("user", "C"))
SHAPES: dict[str, dict[str, Any]] = {
    "openai": {"messages": openai(*TALK)},
    "sharegpt": {"conversations": sharegpt(*TALK)},
    "sharegpt with system beside": {"conversations": sharegpt(*TALK[1:]), "system": "S", "tools": ""},
    "lmsys": {"conversation": openai(*TALK), "language": "English"},
    "trl": {"prompt": openai(*TALK[:-1]), "completion": openai(TALK[-1])},
    "trl with both": {"messages": openai(*TALK), "prompt": "A", "prompt_id": "1"},  # as in UltraChat
    "typed": {"messages": [turn | {"content": [{"type": "text", "text": turn["content"]}]} for turn in openai(*TALK)]},
    "nulls": {"messages": [turn | {"tool_calls": None, "name": None} for turn in openai(*TALK)]},
    "json text": {"messages": json.dumps(openai(*TALK))},
    "lists": {"conversations": {"from": ["system", "human", "gpt", "human", "gpt"], "value": list("SABCD")}},
    "alpaca": {"instruction": "C", "input": "", "output": "D", "system": "S", "history": [["A", "B"]]},
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_in_every_format(tmp_path: Path, shape: str, name: str) -> None:
    path = FORMATS[name](tmp_path / name, [SHAPES[shape]])
    (example,) = read(path, Conversation())
    assert example.turns == TURNS == example.policy_prompt and example.reference == "D"
    assert example.prompt == "system: S\n\nuser: A\n\nassistant: B\n\nuser: C"
    assert example.source == "S\n\nA\n\nB\n\nC" and "turns" not in example.columns


def test_every_shape_as_cells_of_csv(tmp_path: Path) -> None:
    for number, shape in enumerate(SHAPES.values()):
        path = tmp_path / f"{number}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(shape)
            writer.writerow([json.dumps(cell) if isinstance(cell, list | dict) else cell for cell in shape.values()])
        (example,) = read(path, Conversation())
        assert example.turns == TURNS and example.reference == "D"


@pytest.mark.parametrize(
    "record",
    [
        {"messages": openai("u:A", "a:D")},
        {"conversations": sharegpt("u:A", "a:D"), "system": ""},
        {"prompt": "A", "completion": "D"},
        {"prompt": openai("u:A"), "completion": "D"},
        {"instruction": "A", "output": "D", "history": None},
    ],
)
def test_one_user_message_stays_that_message(tmp_path: Path, record: dict[str, Any]) -> None:
    """So its token ids are computed in the same way as the prompts of all other tasks."""
    (example,) = read(jsonl(tmp_path / "c.jsonl", [record]), Conversation())
    assert example == Example("c.jsonl:1", "A", "D", {"prompt": "A", "completion": "D"}, "A")
    assert example.policy_prompt == "A"


def test_columns_choose_the_conversation(tmp_path: Path) -> None:
    record = {
        "messages": openai("u:no", "a:no"),
        "dpo": {"chosen": openai("u:A", "a:D")},
        "topic": "law",
        "q": "Q",
        "a": "R",
    }
    path = jsonl(tmp_path / "c.jsonl", [record])
    (example,) = read(path, Conversation(), {"messages": "dpo.chosen", "topic": "topic"})
    assert (example.prompt, example.reference, example.columns["topic"]) == ("A", "D", "law")
    (example,) = read(path, Conversation(), {"prompt": "q", "completion": "a"})  # although the row has messages, too
    assert (example.prompt, example.reference) == ("Q", "R")
    (example,) = read(path, Conversation(), {"instruction": "q", "input": "topic", "output": "a"})
    assert (example.prompt, example.reference) == ("Q\nlaw", "R")
    with pytest.raises(ValueError, match=r"columns: 'turns' names no field"):
        Conversation().columns_to_read("train", {"turns": "messages"})


def test_prompts_alone(tmp_path: Path) -> None:
    rows = [{"messages": openai("u:A")}, {"messages": openai("u:A", "a:B", "u:C")}, {"messages": openai("u:A", "a:B")}]
    path = jsonl(tmp_path / "c.jsonl", [*rows, {"prompt": openai("s:S", "u:A")}, {"instruction": "I", "input": "J"}])
    examples = read(path, Conversation(source_only=True), part="train")
    assert [(example.source, example.reference) for example in examples] == [
        ("A", ""), ("A\n\nB\n\nC", ""), ("A", ""), ("S\n\nA", ""), ("I\nJ", ""),
    ]  # fmt: skip
    bad = read(path, Conversation(source_only=True), part="test")  # only training works without references
    assert [isinstance(row, BadRow) for row in bad] == [True, True, False, True, True]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "role": ({"messages": [{"role": "narrator", "content": "x"}]}, "'messages.0' has the role 'narrator'|user, human"),
    "no role": ({"messages": [{"content": "x"}]}, "has the role None"),
    "role twice": ({"messages": [{"role": "user", "from": "gpt", "value": "x"}]}, "both role and from"),
    "function call": ({"conversations": [{"from": "function_call", "value": "{}"}]}, "the role 'function_call'"),
    "ends with user": (
        {"messages": openai("u:A", "a:B", "u:C")}, "ends with a user turn, which nothing answers|take it out|drop"),
    "no answer": ({"messages": openai("u:A")}, "no assistant turn|source_only: true"),
    "starts with assistant": ({"messages": openai("a:A", "u:B", "a:C")}, "turn 1 is an assistant turn at the start"),
    "empty turn": ({"messages": openai("u:A", "a:")}, "'messages.1 (assistant)' is empty ('')|drop the row"),
    "null turn": ({"messages": [*openai("u:A"), {"role": "assistant", "content": None}]}, "'messages.1 (assistant)'"),
    "two user turns":
        ({"messages": openai("u:A", "u:B", "a:C")}, "turn 2 is a user turn after a user turn|join the two"),
    "two answers": ({"messages": openai("u:A", "a:B", "a:C")}, "turn 3 is an assistant turn after an assistant turn"),
    "late system": ({"messages": openai("u:A", "s:S", "u:B", "a:C")}, "a system turn can only be the first"),
    "two systems": ({"messages": openai("s:S", "u:A", "a:B"), "system": "T"}, "'system' is a second system text"),
    "tool after user": ({"messages": openai("u:A", "t:T", "a:B")}, "turn 2 is a tool turn after a user turn"),
    "tool calls": ({"messages": openai("u:A", "a:B", tool_calls=[{"id": "1"}])}, "'messages.1' has tool_calls"),
    "name": ({"messages": openai("u:A", name="Ann") + openai("a:B")}, "'messages.0' has name 'Ann'|into the content"),
    "weight": ({"messages": openai("u:A", "a:B", weight=0)}, "has weight 0|last turn is trained"),
    "half weight": ({"messages": openai("u:A", "a:B", weight=0.5) + openai("u:C", "a:D")}, "has weight 0.5"),
    "train": ({"messages": openai("u:A", "a:B", train=False)}, "has train False|take train out"),
    "image": (
        {"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}, *openai("a:B")]},
        "'messages.0' has a part of type 'image', and only text is read"),
    "tools": ({"messages": openai("u:A", "a:B"), "tools": [{"name": "f"}]}, "'tools' describes tools"),
    "control": ({"messages": openai("u:A\x00", "a:B")}, "the control character U+0000"),
    "no list": ({"messages": 5}, "'messages' is no list of turns but 5 (int)"),
    "python text": ({"messages": str(openai("u:A", "a:B"))}, "text that is not JSON|json.dumps"),
    "key twice": ({"messages": '[{"role": "user", "role": "assistant", "content": "x"}]'}, "a key twice"),
    "no turns": ({"messages": ["A", "B"]}, "'messages.0' is no turn but 'A' (str)"),
    "empty": ({"messages": [], "prompt": ""}, "'messages' and 'prompt' are empty"),
    "long completion": ({"prompt": "A", "completion": openai("a:B", "u:C", "a:D")}, "not one assistant turn but"),
    "history": ({"instruction": "A", "output": "B", "history": ["x"]}, "'history.0' is no pair"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_trained_on_is_a_bad_row(tmp_path: Path, name: str) -> None:
    record, wanted = BAD[name]
    good = {"messages": openai("u:A", "a:B")}
    first, row = read(jsonl(tmp_path / "c.jsonl", [good, record]), Conversation())
    assert isinstance(first, Example) and isinstance(row, BadRow)
    assert row.message.startswith(f"{tmp_path / 'c.jsonl'}:2: ") and "\n" not in row.message
    assert [part for part in wanted.split("|") if part not in row.message] == []


@pytest.mark.parametrize(
    "turns",
    [
        openai("u:A", "a:B", weight=1),
        [*openai("u:A", "a:B", weight=0), *openai("u:C", "a:D", weight=1, train=True)],
        [turn | {"id": 5, "timestamp": "2024", "name": ""} for turn in openai("u:A", "a:B")],
        openai("u:A", "a:B", "t:T", "t:T", "a:C"),
        [{"role": " Human", "content": "A"}, {"role": "BOT", "content": "B"}],
    ],
)
def test_keys_and_roles_that_change_nothing(tmp_path: Path, turns: list[dict[str, Any]]) -> None:
    (example,) = read(jsonl(tmp_path / "c.jsonl", [{"messages": turns}]), Conversation())
    assert isinstance(example, Example)


def test_a_file_without_conversations_names_its_columns(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", [{"dialog": openai("u:A", "a:B"), "id": 1}])
    with pytest.raises(ValueError, match=r"c.jsonl:1: no conversation: no column 'messages' or .*\{messages: dialog\}"):
        read(path, Conversation())
    with pytest.raises(ValueError, match=r"no column 'talk'; the columns are dialog, id"):
        read(path, Conversation(), {"messages": "talk"})


# -- preparation: by the messages, not by their format -----------------------------------------------------------------


def prepared(path: Path, task: Any, cache: Path, held_out: tuple[Prepared, ...] = (), **settings: Any) -> Prepared:
    part = "train" if held_out or settings.pop("train", True) else "test"
    options: dict[str, Any] = {"script": None} | settings
    request = CorpusRequest(
        str(path),
        task.columns_to_read(part, {}),
        task.optional,
        fields=task.fields,
        languages=task.languages,
        prepare=Preparation(**options),
        filters=part == "train",
        chat=task.chat(part),
    )
    return prepare(request, held_out, cache=cache)


LONG = "请把这篇关于青藏高原气候变化的文章概括成三句话并说明它对牧民生活有什么影响"
ANSWER = "འགྱུར་བ་འདིས་འབྲོག་པའི་འཚོ་བར་ཤུགས་རྐྱེན་ཆེན་པོ་ཐེབས་ཀྱི་ཡོད་པ་རེད། ད་ལྟའི་གནམ་གཤིས་ནི་སྔོན་མ་དང་མི་འདྲ།"


def test_duplicates_by_what_is_said(tmp_path: Path) -> None:
    """The same conversation in other shapes and cases is a duplicate; in JSON text, role names would differ."""
    rows = [
        {"messages": openai("s:S", f"u:{LONG} A", f"a:{ANSWER}")},
        {"conversations": sharegpt("s:s", f"u:{LONG}, a", f"a:{ANSWER}")},
        {"instruction": f"{LONG} A!", "output": ANSWER, "system": "S."},
        {"messages": openai("s:S", f"u:{LONG} B", f"a:{ANSWER}")},
    ]
    made = prepared(jsonl(tmp_path / "c.jsonl", rows), Conversation(), tmp_path / "c")
    assert [row["id"] for row in made.table] == ["c.jsonl:1", "c.jsonl:4"]
    assert made.report["dropped"] == {"duplicate": 2}


def test_near_duplicates_are_not_made_by_role_names(tmp_path: Path) -> None:
    """Short unrelated turns: written as JSON, nine in ten of their letters would be equal."""
    rows = [
        {"messages": openai(f"u:{a}{b}", f"a:{b}{a}", f"u:{a}", f"a:{b}")} for a, b in ("甲乙", "丙丁", "戊己", "庚辛")
    ]
    texts = [json.dumps(row) for row in rows]
    assert sum(a == b for a, b in zip(*texts[:2], strict=True)) / len(texts[0]) > 0.85
    made = prepared(jsonl(tmp_path / "c.jsonl", rows), Conversation(), tmp_path / "c", near_duplicates=0.8)
    assert len(made.table) == 4
    rows[1] = {"conversations": sharegpt("u:甲乙！", "a:乙甲", "u:甲", "a:乙。")}
    made = prepared(jsonl(tmp_path / "d.jsonl", rows), Conversation(), tmp_path / "c", near_duplicates=0.8)
    assert made.report["dropped"] == {"duplicate": 1}


@pytest.mark.parametrize("evaluation", ["chat", "pairs"])
def test_leaks_between_chat_and_other_corpora(tmp_path: Path, evaluation: str) -> None:
    talk = {"messages": openai("s:S", "u:你好", "a:您好", f"u:{LONG}", f"a:{ANSWER}")}
    other = {"messages": openai("s:S", "u:你好", "a:您好", "u:今天星期几", "a:星期三")}
    held = [{"instruction": LONG, "output": ANSWER}, {"zh": LONG, "bo": ANSWER}][evaluation == "pairs"]
    task = Conversation() if evaluation == "chat" else Translation()
    test = prepared(jsonl(tmp_path / "test.jsonl", [held]), task, tmp_path / "c", train=False)
    made = prepared(jsonl(tmp_path / "c.jsonl", [talk, other]), Conversation(), tmp_path / "c", (test,))
    assert [row["id"] for row in made.table] == ["c.jsonl:2"] and made.report["dropped"] == {"leak": 1}
    # the reverse: a conversation is held out, and pairs are trained on
    test = prepared(jsonl(tmp_path / "test.jsonl", [talk]), Conversation(), tmp_path / "c", train=False)
    pairs = [{"zh": LONG, "bo": ANSWER}, {"zh": "user", "bo": "assistant content role"}]
    made = prepared(jsonl(tmp_path / "p.jsonl", pairs), Translation(), tmp_path / "c", (test,))
    assert [row["id"] for row in made.table] == ["p.jsonl:2"]


def test_texts_in_conversations_are_held_against(tmp_path: Path) -> None:
    """`against`: all texts of a file count, including those of conversations, but not the names of roles."""
    against = jsonl(tmp_path / "probe.jsonl", [{"messages": openai(f"u:{LONG}", f"a:{ANSWER}")}])
    rows = [{"messages": openai(f"u:{LONG}", "a:x")}, {"messages": openai("u:assistant", "a:assistant")}]
    made = prepared(jsonl(tmp_path / "c.jsonl", rows), Conversation(), tmp_path / "c", against=[str(against)])
    assert [row["id"] for row in made.table] == ["c.jsonl:2"]


def test_the_language_of_the_answer_is_judged_and_normalised(tmp_path: Path) -> None:
    rows = [{"messages": openai("u:问", "a:བོད་ཡིག")}, {"messages": openai("u:问", "a:只有中文的回答")}]
    path = jsonl(tmp_path / "c.jsonl", rows)
    made = prepared(path, Conversation("bo"), tmp_path / "c", script=0.5)
    assert made.report["dropped"] == {"script": 1} and made.table[0]["prompt"] == "问"
    assert len(prepared(path, Conversation(), tmp_path / "c", script=0.5).table) == 2  # in any language


def test_shapes_of_a_folder_are_read_through_datasets(tmp_path: Path) -> None:
    path = folder(tmp_path / "folder", [{"messages": openai(*TALK)}])
    (example,) = read(path, Conversation())
    assert example.turns == TURNS
