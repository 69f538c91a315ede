"""Sheets of .xlsx: text is read, all else is refused by its kind, and files may have any size."""

from __future__ import annotations

import datetime
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

from semalign_pl.data.reading.formats import BadRow, Counts
from semalign_pl.data.reading.sources import content_key, read, stream

openpyxl = pytest.importorskip("openpyxl")
COLUMNS = {"zh": "zh", "bo": "bo"}
SHEET, STRINGS = "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
ROWS = [("一 🏔", "ཀ"), ("=二", "007"), (" 三\n四 ", "'ང"), ("_x000D_", "<a>&amp;\t")]


def book(path: Path, *rows: tuple[Any, ...], change: Callable[[Any], object] = lambda _: None) -> str:
    made = openpyxl.Workbook()
    for row in rows:
        made.active.append(row)
    change(made)
    made.save(path)
    return str(path)


def patched(path: Path, part: str, change: Callable[[str], str]) -> str:
    """Write a file again with one member changed."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    parts[part] = change(parts[part].decode()).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in parts.items():
            file.writestr(name, data)
    return str(path)


def shared_strings(path: Path) -> Path:
    """Move the texts of cells to a shared table, as Excel does and openpyxl does not."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name).decode() for name in file.namelist()}
    strings: list[str] = []

    def move(found: re.Match[str]) -> str:
        strings.append(f"<si>{found[1]}</si>")
        return f't="s"><v>{len(strings) - 1}</v></c>'

    parts[SHEET] = re.sub(r't="inlineStr"><is>(.*?)</is></c>', move, parts[SHEET], flags=re.S)
    parts[STRINGS] = f'<?xml version="1.0"?><sst xmlns="{MAIN}">{"".join(strings)}</sst>'
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml"
    override = f'<Override PartName="/{STRINGS}" ContentType="{kind}"/>'
    parts["[Content_Types].xml"] = parts["[Content_Types].xml"].replace("</Types>", f"{override}</Types>")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in parts.items():
            file.writestr(name, text)
    return path


def found(source: str, columns: dict[str, str] = COLUMNS, optional: tuple[str, ...] = ()) -> tuple[Counts, list[Any]]:
    counts = Counts()
    rows = [
        row.message if isinstance(row, BadRow) else tuple(row.values())
        for _, row in stream(source, columns, optional=optional, counts=counts)
    ]
    others = counts.good + counts.bad + counts.blank + counts.header + counts.skipped
    assert counts.lines == others
    return counts, rows


def test_text_as_pandas_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "C.XLSX"
    with pandas.ExcelWriter(path, engine="openpyxl") as writer:
        pandas.DataFrame(ROWS[:1] + ROWS[2:3], columns=["zh", "bo"]).to_excel(writer, index=False)
    assert read(str(path), COLUMNS) == {
        f"C.XLSX:{line}": {"zh": zh, "bo": bo} for line, (zh, bo) in zip((2, 3), ROWS[::2], strict=False)
    }


def test_text_stays_text(tmp_path: Path) -> None:
    def quote(made: Any) -> None:
        for row in made.active.iter_rows(min_row=2):
            for cell in row:
                cell.data_type = "s"

    path = Path(book(tmp_path / "c.xlsx", ("zh", "bo"), *ROWS, change=quote))
    wanted = [*ROWS[:3], ("\r", ROWS[3][1])]  # openpyxl does not escape _x000D_, the code of a carriage return
    assert found(str(path), optional=("zh",)) == found(str(shared_strings(path)), optional=("zh",))
    counts, rows = found(str(path), optional=("zh",))
    assert rows == [*wanted[:3], (wanted[3][1],)] and counts == Counts(lines=5, header=1, good=4)


def test_blank_rows_sheets_and_columns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def sheets(made: Any) -> None:
        made.active.sheet_state = "hidden"
        second = made.create_sheet("对 照#1")
        for row in (
            (),
            ("", "zh", "bo", None),
            (None, " "),
            (1, "一", "ཀ", None),
            (),
            (2, "二", "ཁ"),
            (3, "三", "ག", "x"),
        ):
            second.append(row)
        second.row_dimensions[6].hidden = True  # hidden rows are read as well
        made.create_sheet("empty")

    path = book(tmp_path / "c.xlsx", ("zh", "bo"), ("甲", "ཀ"), change=sheets)
    counts, rows = found(path)
    assert counts == Counts(lines=7, blank=3, header=1, good=2, bad=1)
    assert f"{path}: the sheet '对 照#1' is read, and not empty; name a sheet" in caplog.text
    assert rows[:2] == [("一", "ཀ"), ("二", "ཁ")] and "c.xlsx:7: 4 cells under a header of 3" in rows[2]
    assert found(f"{path}#对 照#1")[1] == rows
    assert list(read(f"{path}#Sheet", COLUMNS)) == ["c.xlsx#Sheet:2"]
    assert len({content_key(path), content_key(f"{path}#Sheet"), content_key(f"{path}#empty")}) == 3
    for name, fault in (
        ("empty", "no rows in it"),
        ("Tab", "no sheet 'Tab'; its sheets are 'Sheet', '对 照#1', 'empty'"),
    ):
        with pytest.raises(ValueError, match=fault):
            read(f"{path}#{name}", COLUMNS)


NO_TEXT: list[tuple[Any, str]] = [
    (7, "not text but 7 (int)"),
    (1.10, "not text but 1.1 (float)"),
    (True, "not text but True (bool)"),
    (datetime.date(2020, 1, 1), "not text but datetime.date...0, 1, 1, 0, 0) (datetime)"),
    ("=A1&B1", "not text but =A1&B1 (Formula)"),
    ("#N/A", "not text but #N/A (ErrorValue)"),
    ("", "empty ('')"),
    (None, "empty ('')"),
]


@pytest.mark.parametrize(("value", "said"), NO_TEXT)
def test_what_is_no_text_is_a_bad_row(tmp_path: Path, value: Any, said: str) -> None:
    path = book(tmp_path / "c.xlsx", ("zh", "bo", "n"), ("一", value, 1), ("二", "ཁ", value))
    counts, rows = found(path)
    assert (counts.good, counts.bad) == (1, 1) and rows[1] == ("二", "ཁ")
    assert f"c.xlsx:2: 'bo', the field bo, is {said}" in rows[0]
    assert len(list(stream(path, COLUMNS, where={"n": 1}))) == 1


def test_merged_cells(tmp_path: Path) -> None:
    rows = [("zh", "bo"), ("一", "ཀ"), (None, "ཁ"), (None, "ག"), ("四", "ང"), ("五 六", None)]
    path = book(
        tmp_path / "c.xlsx", *rows, change=lambda made: [made.active.merge_cells(r) for r in ("A6:B6", "A2:A3")]
    )
    for optional in ((), ("zh", "bo")):
        told = found(path, optional=optional)[1]
        assert told[0] == ("一", "ཀ") and told[3] == ("四", "ང")
        assert "c.xlsx:3: 'zh', the field zh, is not text but part of a merged cell (MergedCell)" in told[1]
        assert "c.xlsx:6: 'bo', the field bo, is not text but part of a merged cell" in told[4]
        assert told[2] == ("ག",) if optional else "c.xlsx:4: 'zh', the field zh, is empty" in told[2]


def test_a_filter_on_a_merged_column_is_no_silent_choice(tmp_path: Path) -> None:
    """Only the first row of each block has the value: the others would be left out without a word."""
    rows = [("zh", "bo", "domain"), ("一", "ཀ", "news"), ("二", "ཁ", None), ("三", "ག", "law"), ("四", "ང", None)]
    path = book(tmp_path / "c.xlsx", *rows, change=lambda made: made.active.merge_cells("C2:C3"))
    told = [
        row.message if isinstance(row, BadRow) else row for _, row in stream(path, COLUMNS, where={"domain": "news"})
    ]
    assert told[0] == {"zh": "一", "bo": "ཀ"} and len(told) == 2  # an empty cell is another value
    assert "c.xlsx:3: 'domain' of where is part of a merged cell; unmerge the cells and fill them in" in told[1]


HEADERS = [
    (("zh", "bo", "zh"), "c.xlsx:1: the header names 'zh' twice"),
    (("zh", None, "bo"), "c.xlsx:1: the header has no name for column 2"),
    (("zh", 5, "bo"), r"c.xlsx:1: the header holds 5 \(int\)"),
    (("a", "b"), "c.xlsx:2: no column 'zh'.*its first line must name them"),
]


@pytest.mark.parametrize(("header", "said"), HEADERS)
def test_a_header_that_names_nothing(tmp_path: Path, header: tuple[Any, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(book(tmp_path / "c.xlsx", header, ("一", "ཀ", "x")[: len(header)]), COLUMNS)


def test_columns_by_number(tmp_path: Path) -> None:
    path = book(tmp_path / "c.xlsx", ("一", "ཀ"), ("二", "ཁ"))
    assert list(read(path, {"zh": "1", "bo": "2"}).values()) == [{"zh": "一", "bo": "ཀ"}, {"zh": "二", "bo": "ཁ"}]


def test_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "c.xlsx"
    for data, said in (
        (b"\xd0\xcf\x11\xe0" + bytes(600), "encrypted with a password, or an old .xls; .*--convert-to xlsx"),
        (b"", "cannot be read as a spreadsheet"),
        (b"zh,bo\n", "cannot be read as a spreadsheet"),
        (Path(book(path, ("zh", "bo"), *ROWS)).read_bytes()[:-40], "cannot be read as a spreadsheet"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=said) as caught:
            read(str(path), COLUMNS)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


LAUGHS = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'>" + "".join(
    f"<!ENTITY a{i} '{f'&a{i - 1};' * 10 if i else '&a;'}'>" for i in range(12)
)
LIES: list[tuple[str, Callable[[str], str], str]] = [
    (SHEET, lambda xml: re.sub('<dimension ref="[^"]*"', '<dimension ref="A1:XFD1048576"', xml), ""),
    (SHEET, lambda xml: xml.replace('<row r="3"', '<row r="99999999999"'), "row 99,999,999,999 follows row 2"),
    (SHEET, lambda xml: xml.replace('<row r="3"', '<row r="2"'), "row 2 follows row 2"),
    (SHEET, lambda xml: xml.replace('r="B3"', 'r="XFD3"'), "c.xlsx:3: 16,384 columns, more than 1,000"),
    (SHEET, lambda xml: xml.replace('r="B3"', 'r="AAAAAAAAA3"'), "cannot be read as a spreadsheet"),
    (SHEET, lambda xml: xml.replace("<v>2</v>", "<v>99</v>"), "cannot be read as a spreadsheet"),
    (SHEET, lambda xml: xml.replace("</sheetData>", ""), "cannot be read as a spreadsheet"),
    (STRINGS, lambda xml: LAUGHS + "]>" + xml.partition("?>")[2].replace("ཀ", "&a11;"), "declares entities"),
    (STRINGS, lambda xml: "<!DOCTYPE x SYSTEM 'file:///etc/passwd'>" + xml.partition("?>")[2], "declares entities"),
    (
        STRINGS,
        lambda xml: xml.replace("</sst>", "<si><t/></si>" * 1_000_000 + "</sst>"),
        "more than 100 times its size",
    ),
    (SHEET, lambda xml: xml.replace("</sheetData>", " " * 10_000_000 + "</sheetData>"), "more than 100 times its size"),
]


@pytest.mark.parametrize(("part", "change", "said"), LIES)
def test_a_sheet_that_lies(tmp_path: Path, part: str, change: Callable[[str], str], said: str) -> None:
    made = shared_strings(Path(book(tmp_path / "c.xlsx", ("zh", "bo"), ("一", "ཀ"), ("二", "ཁ"))))
    path = patched(made, part, change)
    if not said:
        assert len(read(path, COLUMNS)) == 2
        return
    with pytest.raises(ValueError, match=said) as caught:
        read(path, COLUMNS)
    assert "\n" not in str(caught.value) and path in str(caught.value)


def test_a_bomb_stops_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "c.xlsx"
    book(path, ("zh", "bo"), ("一", "ཀ"))
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file,
        file.open("xl/comments1.xml", "w", force_zip64=True) as part,
    ):
        part.write(b"<x>")
        for _ in range(200):
            part.write(b" " * 5_000_000)
        part.write(b"</x>")
    script = f"""
import resource, time
from semalign_pl.data.reading.sources import read
import openpyxl, lxml.etree
held = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize")) << 10
resource.setrlimit(resource.RLIMIT_AS, (held + (200 << 20), -1))
begun = time.monotonic()
try:
    read({str(path)!r}, {COLUMNS!r})
except ValueError as error:
    print(error)
assert time.monotonic() - begun < 5
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, env=environment)
    assert "xl/comments1.xml decompresses to 1,000,000,007 bytes, more than 100 times its size" in done.stdout, (
        done.stderr
    )


def test_without_openpyxl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = book(tmp_path / "c.xlsx", ("zh", "bo"), ("一", "ཀ"))
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ValueError, match=r"\.xlsx needs openpyxl; pip install 'semalign-pl\[excel\]'"):
        read(path, COLUMNS)


def test_a_large_sheet_of_real_rows(tmp_path: Path, shared: Path) -> None:
    pairs = list(read(str(shared / "mitra_bo_zh/dev.jsonl"), COLUMNS).values())
    path = book(tmp_path / "c.xlsx", ("zh", "bo"), *[tuple(row.values()) for row in pairs] * 3)
    counts, rows = found(path)
    assert counts == Counts(lines=3001, header=1, good=3000) and rows[:1000] == [tuple(row.values()) for row in pairs]
