"""Sources: all formats give the same rows, and every error gives one clear line."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from semalign_pl.data import read

ROWS = [
    {"zh": "第一条", "bo": "དོན་ཚན་དང་པོ།", "id": "a"},
    {"zh": '他说"NA"，\r\n又说007', "bo": " null\u2028, ཀ\u0f0b ", "id": "2020-01-01"},
    {"zh": "e\u0301 不规范化", "bo": "ག\u0f71\u0f72 {x} 🏔\t།", "id": "null"},
]
IDENTITY = {"zh": "zh", "bo": "bo"}
PAIR = {"zh": "一", "bo": "ཀ"}


def jsonl(*rows: object) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def separated(delimiter: str) -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, ["zh", "bo", "id"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return stream.getvalue().encode()


def parquet() -> bytes:
    import pyarrow
    import pyarrow.parquet

    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), stream)
    return stream.getvalue()


FORMATS: dict[str, Callable[[], bytes]] = {
    "c.jsonl": lambda: jsonl(*ROWS),
    "c.json": lambda: b"\xef\xbb\xbf" + jsonl(*ROWS).replace(b"\n", b"\r\n") + b"\n",
    "c.JSONL.gz": lambda: gzip.compress(jsonl(*ROWS)),
    "c.csv": lambda: separated(","),
    "bom.csv": lambda: b"\xef\xbb\xbf" + separated(","),
    "c.csv.gz": lambda: gzip.compress(separated(",")),
    "c.tsv": lambda: separated("\t"),
    "c.parquet": parquet,
    "odd [1]*.parquet": parquet,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FORMATS[name]())
    rows = read(str(path), {"zh": "zh", "bo": "bo", "id": "id"})
    assert list(rows.values()) == ROWS
    assert all(id.startswith(f"{name}:") for id in rows)


def test_columns_choose_and_rename(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(jsonl({"chinese": "一", "tibetan": "ཀ", "score": 3.3, "note": None}))
    assert read(str(path), {"zh": "chinese", "bo": "tibetan"}) == {"c.jsonl:1": PAIR}


def test_ids_are_the_lines_an_editor_shows(tmp_path: Path) -> None:
    lines, table = tmp_path / "c.jsonl", tmp_path / "c.csv"
    lines.write_bytes(b"\n" + jsonl(PAIR) + b"  \n\n" + jsonl(PAIR))
    table.write_text('zh,bo\n"一\n二",ཀ\n\n三,ཁ\n', encoding="utf-8")
    assert list(read(str(lines), IDENTITY)) == ["c.jsonl:2", "c.jsonl:5"]
    assert list(read(str(table), IDENTITY)) == ["c.csv:2", "c.csv:5"]


@pytest.mark.parametrize("name", ["c.jsonl", "c.parquet", "folder"])
def test_a_changed_file_is_read_anew(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    file = path / "train.parquet" if name == "folder" else path
    file.parent.mkdir(exist_ok=True)
    for text in ("一", "二"):
        rows = [{**PAIR, "zh": text}]
        if name == "c.jsonl":
            file.write_bytes(jsonl(*rows))
        else:
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
        os.utime(file, (1, 1))  # neither the time nor the size of the file changes
        assert [row["zh"] for row in read(str(path), IDENTITY).values()] == [text]


def test_a_folder_is_read_like_a_hub_dataset(tmp_path: Path) -> None:
    folder = tmp_path / "owner" / "name"
    folder.mkdir(parents=True)
    (folder / "train.csv").write_text("zh,bo\n一,ཀ\n二,ཁ\n", encoding="utf-8")
    (folder / "validation.csv").write_text("zh,bo\n三,ག\n", encoding="utf-8")
    assert list(read(str(folder), IDENTITY).values()) == [PAIR, {"zh": "二", "bo": "ཁ"}]
    assert list(read(str(folder), IDENTITY, split="validation")) == ["name:1"]
    with pytest.raises(ValueError, match="name: .*split 'test'.*or name one file"):
        read(str(folder), IDENTITY, split="test")


# name, content, text that the message must contain after the file's name
HOSTILE: list[tuple[str, bytes, list[str]]] = [
    ("empty.jsonl", b"", ["no rows", "another file"]),
    ("blank.jsonl", b"\n \n", ["no rows"]),
    ("header.csv", b"zh,bo\n", ["no rows"]),
    ("empty.tsv", b"", ["no rows"]),
    ("cut.jsonl", jsonl(PAIR) + b'{"zh": "a", "bo', [":2: not JSON", "one whole object per line"]),
    ("array.json", b'[\n{"zh": "a"}\n]', [":1: no column 'bo'", "the columns are zh"]),
    ("list.jsonl", jsonl(["a", "b"]), [":1: a JSON list", "one object per line"]),
    ("number.jsonl", jsonl(PAIR, 7), [":2: a JSON int", "one object per line"]),
    ("missing.jsonl", jsonl({"chinese": "一", "tibetan": "ཀ"}), [
        ":1: no column 'zh'", "chinese, tibetan", "data.init_args.columns: {zh: chinese, bo: tibetan}"]),
    ("later.jsonl", jsonl(PAIR, {"bo": "ཀ"}), [":2: no column 'zh'", "data.init_args.columns"]),
    ("missing.csv", "zh,tibetan\n一,ཀ\n".encode(), ["no column 'bo'", "data.init_args.columns: {bo: tibetan}"]),
    ("semicolon.csv", "zh;bo\n一;ཀ\n".encode(), ["no column 'zh'", "the columns are zh;bo"]),
    ("null.jsonl", jsonl(PAIR, {"zh": None, "bo": "ཀ"}), [":2: 'zh'", "NoneType", "drop the row"]),
    ("number_field.jsonl", jsonl({"zh": 5, "bo": "ཀ"}), [":1: 'zh'", "5 (int)", "drop the row"]),
    ("list_field.jsonl", jsonl({"zh": ["一"], "bo": "ཀ"}), [":1: 'zh'", "(list)", "drop the row"]),
    ("blank_field.jsonl", jsonl({"zh": "一", "bo": " \u3000"}), [":1: 'bo'", "empty", "fill it in"]),
    ("blank_field.csv", "zh,bo\n一,ཀ\n二,\n".encode(), [":3: 'bo'", "empty", "fill it in"]),
    ("surrogate.jsonl", b'{"zh": "\\ud83c", "bo": "b"}\n', [":1: 'zh'", "surrogate", "drop the row"]),
    ("short.csv", "zh,bo\n一\n".encode(), [":2: 1 cells under a header of 2", ".jsonl"]),
    ("long.csv", "zh,bo\n一,ཀ\n一,二,ཀ\n".encode(), [":3: 3 cells", "a comma"]),
    ("long.tsv", "zh\tbo\n一\t二\tཀ\n".encode(), [":2: 3 cells", "a tab"]),
    ("quote.csv", 'zh,bo\n一,ཀ\n"二,ཁ\n三,ག\n'.encode(), [":3: cannot be split", "quote", ".jsonl"]),
    ("twice.csv", "zh,bo,zh\n一,ཀ,二\n".encode(), [":1: the header names 'zh' twice", "rename"]),
    ("gbk.jsonl", jsonl(PAIR) + "{'zh': '中文'}".encode("gbk"), [":2: not UTF-8", "iconv"]),
    ("utf32.csv", "zh,bo\n".encode("utf-32"), [":1: not UTF-8", "iconv"]),
    ("cut.jsonl.gz", gzip.compress(jsonl(PAIR) * 99)[:-9], ["not a whole gzip file", "zip it again"]),
    ("plain.csv.gz", b"zh,bo\n", ["not a whole gzip file"]),
    ("fake.parquet", b"hello", ["cannot be read as Parquet", "write it again"]),
    ("corpus.md", jsonl(PAIR), ["unknown suffix '.md'", ".jsonl", ".txt"]),
    ("corpus.txt", jsonl(PAIR), ["2 columns are wanted (bo, zh)", ".jsonl", "source_only"]),
    ("corpus.parquet.gz", b"x", ["unknown suffix '.parquet.gz'", ".parquet"]),
    ("corpus", jsonl(PAIR), ["unknown suffix ''", ".jsonl"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "wanted"), HOSTILE, ids=[case[0] for case in HOSTILE])
def test_a_bad_file_is_one_clear_line(tmp_path: Path, name: str, content: bytes, wanted: list[str]) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        read(str(path), IDENTITY)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    assert [part for part in wanted if part not in message] == []


def test_a_missing_parquet_column_names_all_there_are(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    path.write_bytes(parquet())
    with pytest.raises(ValueError, match=r"c.parquet:1: no column 'ug'.*the columns are zh, bo, id"):
        read(str(path), {"zh": "zh", "ug": "ug"})


def test_a_mistyped_path_is_not_taken_for_a_hub_id(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.jsonl").write_bytes(jsonl(PAIR))
    (tmp_path / "data" / ".git").mkdir()  # no file that anybody means
    wanted = {
        "data/trian.jsonl": "did you mean train.jsonl?",
        "data/other": "did you mean train.jsonl?",
        "dta/train.jsonl": "nor is there a folder dta",
        "train.jsonl": "did you mean data?",
        "who/knows": "`datasets` cannot load it",
        "who/knows:zh@test[:1%]": "'test[:1%]'",
        "who/knows@dev": "hf auth login",
    }
    code = """
import sys
from semalign_pl.data import read
for source in sys.argv[1:]:
    try:
        read(source, {"zh": "zh"})
    except ValueError as error:
        print(error)
"""
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", code, *wanted],
        cwd=tmp_path,
        env={**os.environ, **offline},
        capture_output=True,
        text=True,
    )
    messages = result.stdout.splitlines()
    assert len(messages) == len(wanted), result.stdout + result.stderr
    for message, (source, part) in zip(messages, wanted.items(), strict=True):
        assert message.startswith(f"{source}: ") and part in message


def test_datasets_is_imported_only_when_needed(tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(jsonl(PAIR))
    code = (
        "import sys, lightning; before = set(sys.modules); from semalign_pl.data import read;"
        f"read({str(path)!r}, {IDENTITY});"
        "new = set(sys.modules) - before;"
        "print(sorted(new & {'datasets', 'pandas', 'lxml'}), any(m.startswith('transformers') for m in new))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["[]", "False"]
