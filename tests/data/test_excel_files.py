"""Tables as people save them from Excel: encodings, blank rows below the data, and "Unicode Text"."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from semalign_pl.data.cleaning.prepare import CorpusRequest, prepare
from semalign_pl.data.corpora import list_corpora
from semalign_pl.data.reading.formats import BadRow, Counts
from semalign_pl.data.reading.sources import content_key, stream
from semalign_pl.inspection.columns import choose_columns

COLUMNS = {"zh": "中文", "bo": "藏文"}
ROWS = [("他说：“好”", "བཟང་།"), ('"引号"，逗号', "ཚེག་།"), ("两行\n文字", "ཡིག་ཕྲེང་།")]


def table(delimiter: str) -> str:
    """Table as Excel saves it: CR LF, quotes around cells that need them, delimiters alone for blank rows."""
    quoted = ['"' + cell.replace('"', '""') + '"' if set(cell) & set('",\n') else cell for row in ROWS for cell in row]
    lines = [delimiter.join((zh, bo, "")) for zh, bo in zip(quoted[::2], quoted[1::2], strict=True)]
    return "\r\n".join([delimiter.join(("中文", "藏文", "备注")), *lines, delimiter * 2, delimiter * 2, ""])


def found(source: str, encoding: str | None = None) -> tuple[Counts, list[tuple[str, ...] | str]]:
    counts = Counts()
    rows = [
        row.message if isinstance(row, BadRow) else (row["zh"], row["bo"])
        for _, row in stream(source, COLUMNS, counts=counts, encoding=encoding)
    ]
    return counts, rows


def zipped(path: Path, data: bytes) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a b.tsv", data)


SAVED = {
    "unicode text": ("my.txt", table("\t").encode("utf-16"), None),  # with a byte-order mark, little-endian
    "big-endian": ("my.txt", b"\xfe\xff" + table("\t").encode("utf-16-be"), None),
    "compressed": ("my.txt.gz", gzip.compress(table("\t").encode("utf-16")), None),
    "as tsv": ("my.tsv", table("\t").encode("utf-16"), None),
    "utf-16 csv": ("my.csv", table(",").encode("utf-16"), None),
    "csv utf-8": ("my.csv", table(",").encode("utf-8-sig"), None),
    "text with tabs": ("my.txt", table("\t").encode("utf-8"), None),
    "csv on Chinese Windows": ("my.csv", table(",").encode("gb18030"), "gb18030"),
    "text on Chinese Windows": ("my.txt", table("\t").encode("gb18030"), "GB18030"),
    "no mark": ("my.tsv", table("\t").encode("utf-16-le"), "utf-16-le"),
}


@pytest.mark.parametrize("name", SAVED)
def test_every_row_is_read_and_blank_rows_are_counted(tmp_path: Path, name: str) -> None:
    file, data, encoding = SAVED[name]
    (tmp_path / file).write_bytes(data)
    counts, rows = found(str(tmp_path / file), encoding)
    assert rows == ROWS
    assert counts == Counts(lines=7, header=1, blank=2, continued=1, good=3)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("t.jsonl", lambda path, rows: path.write_text("\n".join(map(json.dumps, rows)), encoding="gb18030")),
        ("u.jsonl", lambda path, rows: path.write_bytes(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("gb18030"))),
        ("t.json", lambda path, rows: path.write_bytes(json.dumps(rows, ensure_ascii=False).encode("gb18030"))),
        ("t.zip", lambda path, _: zipped(path, table("\t").encode("gb18030"))),
    ],
)  # fmt: skip
def test_gb18030_in_every_text_format(tmp_path: Path, name: str, write: Callable[..., object]) -> None:
    write(tmp_path / name, [{"中文": zh, "藏文": bo} for zh, bo in ROWS])
    assert found(str(tmp_path / name), "gb18030")[1] == ROWS


def test_paired_files_and_a_long_file_in_chunks(tmp_path: Path) -> None:
    for column, text in (("中文", "汉字"), ("藏文", "བོད་ཡིག")):
        (tmp_path / f"t.{column}").write_bytes((f"{text}\r\n" * 30_000).encode("gb18030"))
    counts, rows = found(f"{tmp_path}/t.{{中文,藏文}}", "gb18030")
    assert counts.good == 30_000 and set(rows) == {("汉字", "བོད་ཡིག")}


def test_what_is_not_in_the_encoding_is_told_by_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("中文,藏文\n一,ཀ\n".encode("gb18030") + b"\xff\xff,x\n" + "二,ཁ\n".encode("gb18030"))
    counts, rows = found(str(path), "gb18030")
    assert rows[::2] == [("一", "ཀ"), ("二", "ཁ")] and (counts.good, counts.bad) == (2, 1)
    assert "t.csv:3: not gb18030 (byte 0xff); name its encoding in the recipe" in rows[1]
    with pytest.raises(ValueError, match=r":1: not UTF-8 .*\{path: t.csv, encoding: gb18030\}, or convert"):
        found(str(path))
    (tmp_path / "odd.txt").write_bytes("中\t文\n".encode("utf-16") + b"\x00\xd8")
    with pytest.raises(ValueError, match="odd.txt: not utf-16 .*; save it as UTF-8"):
        found(str(tmp_path / "odd.txt"))
    for name, encoding, message in (
        ("t.csv", "gbk18030", r"encoding is 'gbk18030', which there is not; give e\.g\. gb18030"),
        ("t.csv", "base64", "encoding is 'base64', which there is not"),
        ("t.xlsx", "gb18030", r"encoding is gb18030, but \.xlsx says its encoding itself; leave it out"),
        ("", "gb18030", "encoding is gb18030, but only text files have one"),
    ):
        (tmp_path / "t.xlsx").touch()
        with pytest.raises(ValueError, match=message):
            found(str(tmp_path / name), encoding)


def test_a_recipe_names_the_encoding(tmp_path: Path) -> None:
    path = tmp_path / "my.txt"
    path.write_bytes(table("\t").encode("gb18030"))
    (corpus,) = list_corpora([{"path": str(path), "encoding": "gb18030", "columns": COLUMNS}])
    request = CorpusRequest(corpus.path, COLUMNS, encoding=corpus.encoding)
    report = prepare(request, cache=tmp_path / "cache").report
    assert (report["kept"], report["blank"], report["header"]) == (3, 2, 1)
    path.write_bytes(table("\t").encode("utf-16"))
    before = content_key(str(path))
    assert prepare(CorpusRequest(str(path), COLUMNS), cache=tmp_path / "cache").report["kept"] == 3
    assert content_key(str(path)) == before


def test_unicode_text_is_inspected_as_a_table(tmp_path: Path) -> None:
    (tmp_path / "my.txt").write_bytes(table("\t").encode("utf-16"))
    corpus, columns, _ = choose_columns(CorpusRequest(str(tmp_path / "my.txt"), {}), None)
    languages = {name: column.language.code for name, column in columns.items() if column.language}
    assert languages == {"中文": "zh", "藏文": "bo"} and corpus.guessed
    (tmp_path / "plain.txt").write_bytes("一\t二\n三\n".encode())
    assert [row for _, row in stream(str(tmp_path / "plain.txt"), {"zh": "zh"})] == [{"zh": "一\t二"}, {"zh": "三"}]


def test_rows_below_the_data_of_a_sheet(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in (
        ("号", "中文", "藏文", "备注"),
        (1, "一", "ཀ", None),
        (),
        (2, "二", "ཁ", "请核对"),
        (3, None, " ", None),
    ):
        sheet.append(row)
    sheet.append(("=ROW()-1", None, None, None))
    sheet.append((None, None, None, "完"))  # a note is text, so nothing says that the row is blank
    sheet.append((5, "五", None, None))
    for number in range(9, 300):
        sheet.cell(number, 2).number_format = "@"  # formatted in advance, as Excel does for whole columns
    book.save(tmp_path / "my.xlsx")
    counts, rows = found(str(tmp_path / "my.xlsx"))
    assert counts.lines == counts.header + counts.good + counts.bad + counts.blank
    assert (counts.good, counts.bad, counts.blank) == (2, 2, counts.lines - 5) and counts.blank >= 3
    assert rows[:2] == [("一", "ཀ"), ("二", "ཁ")]
    assert "my.xlsx:7: '中文', the field zh, is empty" in rows[2] and "my.xlsx:8: '藏文'" in rows[3]
