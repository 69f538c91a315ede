"""`semalign corpus` on nested columns and conversations finds the same rows and duplicates as preparation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from semalign_pl.__main__ import main
from semalign_pl.data.cleaning.preparation import Preparation
from semalign_pl.data.cleaning.prepare import CorpusRequest, prepare
from semalign_pl.inspection.inspect import inspect


def written(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def talk(*texts: str) -> dict[str, Any]:
    roles = ("user", "assistant")
    return {"messages": [{"role": roles[place % 2], "content": text} for place, text in enumerate(texts)], "id": "x"}


TALKS = [
    talk("藏文怎么写？", "བོད་ཡིག་འདི་ལྟར་འབྲི།"),
    talk("你好！", "您好！", "藏文怎么写？", "བོད་ཡིག་འདི་ལྟར་འབྲི།"),
    talk("藏文怎么写", "བོད་ཡིག་འདི་ལྟར་འབྲི"),  # the first conversation again
    talk("问", "答", "问"),  # bad: the last message has no answer
]


def test_conversations_are_known_by_their_turns(tmp_path: Path) -> None:
    path = written(tmp_path / "chat.jsonl", [{"system": "S", **row} for row in TALKS])
    numbers, (counted,) = inspect([CorpusRequest(path, {})], None, [])
    (file,) = numbers["files"]
    assert list(file["columns"]) == ["prompt", "completion"]
    assert (file["read"], file["good"], file["bad"]["rows"]) == (4, 3, 1)
    assert "chat.jsonl:4: the conversation ends with a user turn" in file["bad"]["first"][0]
    assert file["columns"]["completion"]["language"] == "bo"
    request = counted.corpus.request
    made = prepare(
        CorpusRequest(**{**request.__dict__, "prepare": Preparation(), "bad_rows": "quarantine"}), cache=tmp_path
    )
    assert file["duplicates"]["rows"] == 1 == made.report["dropped"]["duplicate"]


def test_paths_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"translation": {"bo": "བོད་ཡིག", "zh": zh}} for zh in ("一二三", "四五六", "四五六。")]
    path = written(tmp_path / "pairs.jsonl", rows)
    out = tmp_path / "out"
    arguments = ["corpus", path, "--columns", "zh=translation.zh,bo=translation.bo", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["semalign", *arguments])
    assert not main()
    (numbers,) = out.glob("*.json")
    (file,) = json.loads(numbers.read_text(encoding="utf-8"))["files"]
    assert {field: column["language"] for field, column in file["columns"].items()} == {"zh": "zh", "bo": "bo"}
    assert (file["good"], file["duplicates"]["rows"]) == (3, 1)
