"""Objects in a .json file are read, or refused by kind with the command that converts them."""

from __future__ import annotations

import gzip
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas
import pytest

from semalign_pl.data.reading.formats import BadRow, Counts
from semalign_pl.data.reading.sources import content_key, read, stream

COLUMNS = {"zh": "zh", "bo": "bo"}
ROWS = [{"zh": f"一{i} 🏔", "bo": "ཀ" * (i % 90 + 1), "more": [i, {"a": None}], "code": f"00{i}"} for i in range(12)]
TEXTS = [(row["zh"], row["bo"]) for row in ROWS]


def put(path: Path, value: object, indent: int | None = None) -> str:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent), encoding="utf-8")
    return str(path)


def texts(source: str, split: str = "train") -> list[tuple[str, ...]]:
    return [tuple(row.values()) for row in read(source, COLUMNS, split).values()]


WHOLE: list[tuple[str, object]] = [
    ("data", {"data": ROWS}),
    ("meta before and after", {"version": 1, "x": {"a": [1, [2]], "b": {}}, "data": ROWS, "n": 3, "y": ["a"], "z": []}),
    ("the schema of pandas' table", json.loads(pandas.DataFrame(ROWS).to_json(orient="table"))),
    ("array", ROWS),
]


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize(("name", "value"), WHOLE, ids=[name for name, _ in WHOLE])
def test_the_one_list_of_objects_is_read(tmp_path: Path, name: str, value: object, indent: int | None) -> None:
    assert texts(put(tmp_path / "c.json", value, indent)) == TEXTS
    assert list(read(str(tmp_path / "c.json"), COLUMNS)) == [f"c.json:{i + 1}" for i in range(len(ROWS))]
    counts = Counts()
    assert len(list(stream(str(tmp_path / "c.json"), COLUMNS, counts=counts))) == counts.lines == counts.good == 12


@pytest.mark.parametrize("indent", [None, 2])
def test_several_lists_are_chosen_by_split_or_key(tmp_path: Path, indent: int | None) -> None:
    whole = {"train": ROWS[:3], "test": ROWS[3:5], "dev": ROWS[5:6], "empty": []}
    path = put(tmp_path / "c.json", whole, indent)
    assert texts(path) == TEXTS[:3] and texts(path, "test") == TEXTS[3:5]
    assert list(read(f"{path}#dev", COLUMNS)) == ["c.json#dev:1"] and texts(f"{path}#dev") == TEXTS[5:6]
    assert len({content_key(source, split) for source in (path, f"{path}#dev") for split in ("train", "test")}) >= 3
    with pytest.raises(
        ValueError, match=r"train \(list of objects\), test \(list.*say which list is read, e.g. .*#train"
    ):
        read(path, COLUMNS, "validation")
    with pytest.raises(ValueError, match="no key 'tset'; the keys are train, test, dev, empty; name one after #"):
        read(f"{path}#tset", COLUMNS)
    with pytest.raises(ValueError, match="no rows in it"):
        read(f"{path}#empty", COLUMNS)
    only = put(tmp_path / "d.json", {"train": ROWS, "test": []}, indent)
    assert texts(only) == TEXTS
    with pytest.raises(ValueError, match="no rows in it"):
        read(only, COLUMNS, "test")


def test_lists_in_objects_inside(tmp_path: Path) -> None:
    path = put(tmp_path / "c.json", {"info": {"n": 1}, "data": {"train": ROWS, "test": ROWS[:1]}, "a.b": ROWS[:2]}, 2)
    assert texts(f"{path}#data.test") == TEXTS[:1] and texts(f"{path}#a.b") == texts(path) == TEXTS[:2]
    inner = put(tmp_path / "d.json", {"data": {"train": ROWS}})
    with pytest.raises(
        ValueError, match=r"data \(object with train\); say which list is read, e.g. .*d.json#data.train"
    ):
        read(inner, COLUMNS)
    assert texts(f"{inner}#data.train") == TEXTS


@pytest.mark.parametrize("rows", [1, 3])
def test_an_object_per_line_stays_one(tmp_path: Path, rows: int) -> None:
    """Also if each contains a list of objects, as a conversation does."""
    talk = {"messages": [{"role": "user", "content": "x" * 70_000}], "zh": "一", "bo": "ཀ"}
    path = tmp_path / "c.json"
    path.write_text("".join(json.dumps(talk) + "\n" for _ in range(rows)), encoding="utf-8")
    assert texts(str(path)) == [("一", "ཀ")] * rows


BROKEN = [
    # text, good rows, bad rows, parts of the error
    ('{"zh": "一", "bo": "ཀ"\n{"zh": "一", "bo": "ཀ"}\n', 1, 1, ""),
    ('{"zh": "一",\n{"zh": "一", "bo": "ཀ"}\n', 1, 1, ""),
    ('{"zh": "一\n{"zh": "一", "bo": "ཀ"}\n', 1, 1, ""),
    ('{"zh": "一", "bo": "ཀ"}\n\n{"zh": \n', 1, 1, ""),
    ('{\n"data": [\n{"zh": "一", "bo": "ཀ"},\n{"zh" "一"}]}', 0, 0, ":4: not JSON"),
    ('{\n"data": [\n{"zh": "一", "bo": "ཀ"}\n]', 0, 0, ":4: not JSON"),
    ('{"data": [{"zh": "一", "bo": "ཀ"}', 0, 0, ":1: not JSON"),
    ('{"data": [{"zh": "一", "bo": "ཀ"}]} x', 0, 1, ""),
    ('{\n"data": [{"zh": "一", "bo": "ཀ"}]}\n]', 0, 0, ":3: not JSON (']' after"),
    ('{\n"data": [{"zh": "一", "bo": "ཀ"}],\n"data": []}', 0, 0, ":3: not JSON (the key 'data' twice"),
    ('{\n"data": [{"zh": "一", "bo": "ཀ"}, 7, {"zh": "", "bo": "ཀ"}]}', 1, 2, ""),
    ('{\n"data": [{"zh": "一", "bo": "ཀ"}],}', 0, 0, ":2: not JSON"),
    ('{\n"a": ' + '{"a":' * 100_000, 0, 0, "not JSON (nested more than 64 deep)"),
]


@pytest.mark.parametrize(("text", "good", "bad", "said"), BROKEN)
def test_a_broken_document_names_its_line(tmp_path: Path, text: str, good: int, bad: int, said: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text, encoding="utf-8")
    found, fault = [], ""
    try:
        found.extend(row for _, row in stream(str(path), COLUMNS))
    except ValueError as error:
        fault = str(error)
    assert sum(isinstance(row, BadRow) for row in found) == bad and len(found) == good + bad
    assert said in fault and bool(said) == bool(fault) and "\n" not in fault


FRAME = pandas.DataFrame([{"zh": row["zh"], "bo": row["bo"], "code": row["code"]} for row in ROWS])
REFUSED: list[tuple[str, Any, str]] = [
    *(
        (orient, json.loads(FRAME.to_json(orient=orient)), f"orient='{orient}'")
        for orient in ("columns", "index", "split")
    ),
    ("lists", FRAME.to_dict("list"), "columns"),
]


@pytest.mark.parametrize(("name", "value", "said"), REFUSED, ids=[name for name, *_ in REFUSED])
def test_the_command_converts_other_layouts(tmp_path: Path, name: str, value: Any, said: str) -> None:
    path = put(tmp_path / f"{name}.json", value, 1)
    with pytest.raises(ValueError, match=said) as caught:
        read(path, COLUMNS)
    message = str(caught.value)
    assert "\n" not in message and "not JSON" not in message
    command = shlex.split(message[message.index("python -c") :])
    subprocess.run([sys.executable, *command[1:]], check=True, timeout=60)
    converted = read(str(tmp_path / f"{name}.jsonl"), COLUMNS | {"code": "code"})
    assert [tuple(row.values()) for row in converted.values()] == [(*text, f"00{i}") for i, text in enumerate(TEXTS)]


@pytest.mark.parametrize("value", [[ROWS[0]], [ROWS[0], ROWS[1]]])
def test_the_command_converts_objects_over_several_lines(tmp_path: Path, value: list[Any]) -> None:
    path = tmp_path / "c.json"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False, indent=2) for row in value), encoding="utf-8")
    with pytest.raises(ValueError, match=r"write (it on one line|one per line): jq -c") as caught:
        read(str(path), COLUMNS)
    assert "not JSON" not in str(caught.value)
    command = str(caught.value)[str(caught.value).index("jq -c") :].partition(";")[0]
    if subprocess.run("command -v jq", shell=True, capture_output=True).returncode == 0:
        subprocess.run(command, shell=True, check=True)
        assert texts(str(tmp_path / "c.jsonl")) == TEXTS[: len(value)]


def test_squad_stays_squad(tmp_path: Path) -> None:
    question = {"id": "1", "question": "q", "answers": [{"text": "a", "answer_start": 0}]}
    whole = {"version": "v", "data": [{"title": "t", "paragraphs": [{"context": "c", "qas": [question]}]}]}
    path = put(tmp_path / "q.json", whole, 2)
    for source in (path, f"{path}#data"):
        assert list(read(source, {"q": "question", "a": "answer"}).values()) == [{"q": "q", "a": "a"}]


def test_a_hundred_megabytes_in_an_object(tmp_path: Path) -> None:
    """Memory stays constant: at most 60 MB more than importing takes."""
    row = json.dumps({"zh": "x", "bo": "y" * 2000}).encode()
    path = tmp_path / "c.json.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{\n"test": [' + (row + b",\n") * 3_000 + row + b'],\n"train": [')
        for _ in range(20):
            file.write((row + b",\n") * 1000)
        file.write(row + b"]}")
    script = f"""
import resource, sys
from semalign_pl.data.reading.sources import stream
list(stream({put(tmp_path / "s.json", {"data": ROWS})!r}, {COLUMNS!r}))
peak = lambda: next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM"))
before = peak()
print(sum(1 for _ in stream({str(path)!r}, {COLUMNS!r})), (peak() - before) // 1000)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    rows, grown = map(int, done.stdout.split())
    assert rows == 20_001 and grown < 60
