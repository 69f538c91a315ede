"""Nested columns by dotted paths, as in WMT, OPUS and SQuAD, in all formats; and messages about wrong paths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.corpus_files import FORMATS, jsonl, parquet

from semalign_pl.data.cleaning.prepare import CorpusRequest, prepare
from semalign_pl.data.reading.formats import BadRow
from semalign_pl.data.reading.sources import read, stream
from semalign_pl.data.storing.table import Table, TableWriter

PAIR = {"translation": {"bo": "ཀ", "zh": "一"}, "id": 7}
SQUAD = {"question": "谁？", "answers": {"text": ["老师"], "answer_start": [0]}}


@pytest.mark.parametrize("name", FORMATS)
def test_nested_columns_in_every_format(tmp_path: Path, name: str) -> None:
    path = FORMATS[name](tmp_path / name, [PAIR, PAIR | {"translation": {"bo": "ཁ", "zh": "二"}}])
    rows = read(str(path), {"zh": "translation.zh", "bo": "translation.bo"})
    assert list(rows.values()) == [{"zh": "一", "bo": "ཀ"}, {"zh": "二", "bo": "ཁ"}]


@pytest.mark.parametrize("name", FORMATS)
def test_answers_of_squad_in_every_format(tmp_path: Path, name: str) -> None:
    path = FORMATS[name](tmp_path / name, [SQUAD])
    for column in ("answers.text", "answers.text.0"):
        (row,) = read(str(path), {"question": "question", "answer": column}).values()
        assert row == {"question": "谁？", "answer": "老师"}


@pytest.mark.parametrize(
    ("record", "column", "wanted"),
    [
        ({"a": [{"b": "x"}]}, "a.b", "x"),  # through a list of one item
        ({"a": [{"b": "x"}, {"b": "y"}]}, "a.1.b", "y"),
        ({"a": {"0": "x"}}, "a.0", "x"),  # a key that is a number
        ({"a": ["x"]}, "a.0", "x"),
        ({"a": {"b": {"c": {"d": ["x"]}}}}, "a.b.c.d", "x"),
        ({"a.b": "own", "a": {"b": "part"}}, "a.b", "own"),  # a column of exactly this name comes first
        ({"a.b": {"c": "own"}, "a": {"b": {"c": "part"}}}, "a.b.c", "own"),
        ({"a.b": "own"}, "a.b", "own"),
    ],
)
def test_what_a_path_leads_to(tmp_path: Path, record: dict[str, Any], column: str, wanted: str) -> None:
    for name in ("c.jsonl", "c.parquet"):
        path = FORMATS[name](tmp_path / name, [record])
        assert list(read(str(path), {"t": column}).values()) == [{"t": wanted}]


@pytest.mark.parametrize(
    ("record", "column", "said"),
    [
        ({"a": {"b": ["x", "y"]}}, "a.b", "'a.b', the field t, is a list of 2|{t: a.b.0} for the first"),
        ({"a": [{"b": "x"}, {"b": "y"}]}, "a.b", "'a' is a list of 2|a.0.b for the first"),
        ({"a": {"b": []}}, "a.b", "'a.b', the field t, is not text but [] (list)|drop the row"),
        ({"a": {"b": []}}, "a.b.0", "'a.b' is a list of 0, so there is no 'a.b.0'"),
        ({"a": []}, "a.b", "'a' is an empty list"),
        ({"a": ["x"]}, "a.1", "'a' is a list of 1, so there is no 'a.1'"),
        ({"a": {"b": "x"}}, "a.c", "'a' has no part 'c'; its parts are b"),
        ({"a": None}, "a.b", "'a' is null, which has no part 'b'"),
        ({"a": "x"}, "a.b", "'a' is 'x' (str), which has no part 'b'"),
        ({"a": {"b": 5}}, "a.b", "'a.b', the field t, is not text but 5 (int)"),
        ({"a": {"b": ""}}, "a.b", "'a.b', the field t, is empty ('')"),
        ({"a": {"t": "x"}}, "a", "an object (dict) with t; name one of its parts, e.g.|{t: a.t}"),
        ({"a": ["x", "y"]}, "a", "'a', the field t, is not text but ['x', 'y'] (list)|{t: a.0} for the first"),
    ],
)
def test_a_path_that_leads_to_no_text_is_a_bad_row(
    tmp_path: Path, record: dict[str, Any], column: str, said: str
) -> None:
    path = jsonl(tmp_path / "c.jsonl", [{"a": {"t": "good"}} if column == "a.t" else record])
    ((id, row),) = stream(str(path), {"t": column})
    assert id == "c.jsonl:1" and isinstance(row, BadRow) and "\n" not in row.message
    assert [part for part in said.split("|") if part not in row.message] == []


def test_a_missing_column_that_is_a_part_of_another_is_suggested(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "c.jsonl", [PAIR])
    with pytest.raises(ValueError, match=r"no column 'bo' .*data.init_args.columns: \{bo: translation.bo\}"):
        read(str(path), {"bo": "bo"})
    with pytest.raises(ValueError, match=r"no column 'translations.bo' .*\{bo: translation.bo\}"):
        read(str(path), {"bo": "translations.bo"})


@pytest.mark.parametrize("value", [[{"b": "ཁ"}, {"b": "ག"}], "ཁ"], ids=["several", "no parts"])
@pytest.mark.parametrize("use", [{"optional": ["note"]}, {"where": {"a.b": "ཁ"}}], ids=["optional", "where"])
def test_a_path_to_what_cannot_be_told_is_a_bad_row(tmp_path: Path, value: Any, use: dict[str, Any]) -> None:
    """Existing text is neither dropped nor skipped: only a missing field is missing."""
    path = jsonl(
        tmp_path / "c.jsonl", [{"zh": "一", "a": {"b": "ཁ"}}, {"zh": "二", "a": value}, {"zh": "三", "a": None}]
    )
    rows = [
        row for _, row in stream(str(path), {"zh": "zh", "note": "a.b"} if "optional" in use else {"zh": "zh"}, **use)
    ]
    assert rows[0] == {"zh": "一", **({"note": "ཁ"} if "optional" in use else {})}
    assert isinstance(rows[1], BadRow) and "c.jsonl:2: 'a' is " in rows[1].message
    assert rows[2:] == ([{"zh": "三"}] if "optional" in use else [])


def test_where_and_optional_fields_by_path(tmp_path: Path) -> None:
    rows = [{"m": {"lang": lang, "note": note}, "t": lang} for lang, note in (("bo", "x"), ("zh", "y"), ("bo", ""))]
    path = jsonl(tmp_path / "c.jsonl", [*rows, {"m": {}, "t": "?"}])
    columns = {"t": "t", "note": "m.note"}
    found = dict(stream(str(path), columns, where={"m.lang": "bo"}, optional=["note"]))
    assert list(found.values()) == [{"t": "bo", "note": "x"}, {"t": "bo"}]


def test_only_the_nested_column_is_read_of_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pyarrow.parquet import ParquetFile

    asked: list[list[str]] = []
    batches = ParquetFile.iter_batches

    def noted(self: Any, size: int, columns: list[str]) -> Any:
        asked.append(columns)
        return batches(self, size, columns=columns)

    monkeypatch.setattr(ParquetFile, "iter_batches", noted)
    path = parquet(tmp_path / "c.parquet", [PAIR | {"large": "x"}])
    read(str(path), {"zh": "translation.zh"})
    assert asked == [["translation"]]


def test_columns_that_only_later_rows_have_are_kept(tmp_path: Path) -> None:
    """An optional field that the first rows lack: Arrow skips fields that its schema does not name."""
    with TableWriter(tmp_path / "t.arrow", columns=["a", "b"]) as writer:
        for _ in range(200):
            writer.write({"id": "x", "a": "1"})
        writer.write({"id": "y", "a": "2", "b": "late"})
    assert Table(tmp_path / "t.arrow")[200] == {"id": "y", "a": "2", "b": "late"}
    rows = [{"instruction": "问", "output": "答"} for _ in range(300)] + [
        {"instruction": "?", "output": "!", "input": "late"}
    ]
    path = jsonl(tmp_path / "c.jsonl", rows)
    columns = {name: name for name in ("instruction", "input", "output")}
    made = prepare(CorpusRequest(str(path), columns, frozenset({"input"}), fields=tuple(columns)), cache=tmp_path / "c")
    assert made.table[300]["input"] == "late" and made.table[0]["input"] is None
