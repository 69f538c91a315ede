"""Every line that a reader gets becomes a row, a blank line or a header, and the reader itself checks this."""

from __future__ import annotations

import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from helpers.malformed_files import CASES, FAULT, Case, write

from semalign_pl.data.cleaning.prepare import CorpusRequest, prepare
from semalign_pl.data.reading.formats import BadRow, Counts
from semalign_pl.data.reading.formats.account import LineCounter, account
from semalign_pl.data.reading.formats.record import Item, NoRow
from semalign_pl.data.reading.sources import stream

BAD = BadRow(1, "x:1: bad", "")
IDENTITY = {"zh": "zh", "bo": "bo"}


def lines_of(path: Path) -> int:
    """Number of lines of a text file or rows of another, counted independently of the readers."""
    if path.suffix == ".parquet":
        from pyarrow.parquet import read_table

        return read_table(path).num_rows
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if path.suffix != ".tmx" and data.startswith((b"\xff\xfe", b"\xfe\xff")) and data[2:4] != b"\0\0":
        data = data.decode("utf-16").encode()
    if ".tmx" in path.suffixes:
        return len(re.findall(rb"<tu[ >/]", data.replace(b"\0", b"")))  # zero bytes: UTF-16
    if ".json" in path.suffixes and (whole := _whole(data)) is not None:
        if isinstance(whole, list):
            return len(whole)
        if "data" in whole:
            return sum(len(p["qas"]) for article in whole["data"] for p in article["paragraphs"])
    return len(io.BytesIO(data.removeprefix(b"\xef\xbb\xbf")).readlines())


def _whole(data: bytes) -> Any:
    try:
        whole = json.loads(data, parse_int=len)
    except ValueError:
        return None
    return whole if isinstance(whole, list) or (isinstance(whole, dict) and "data" in whole) else None


def balanced(source: str, files: list[Path], columns: dict[str, str], **more: object) -> Counts:
    """Counts of a source, checked against its rows and its files."""
    counts = Counts()
    rows = [row for _, row in stream(source, columns, counts=counts, **more)]  # type: ignore[arg-type]
    bad = sum(isinstance(row, BadRow) for row in rows)
    assert (counts.good, counts.bad) == (len(rows) - bad, bad)
    others = counts.blank + counts.header + counts.continued + counts.skipped
    assert counts.lines == counts.good + counts.bad + others
    assert counts.lines == sum(lines_of(file) for file in files)
    return counts


READABLE = [case for case in CASES if case.bad != FAULT and not case.name.startswith("squad_odd")]


@pytest.mark.parametrize("case", READABLE, ids=[ascii(case.name)[1:40] for case in READABLE])
def test_lines_in_are_rows_good_and_bad_and_blank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case) -> None:
    monkeypatch.chdir(tmp_path)
    source = write(case, tmp_path)
    files = sorted(path for path in tmp_path.iterdir() if path.suffix != ".md")
    if "{" in case.name:
        files = files[:1]  # a row has one line in each of the files
    counts = balanced(source, files, case.columns)
    assert (counts.good, counts.bad) == (case.good, case.bad)


def test_lines_in_are_rows_out_on_real_files(shared: Path) -> None:
    article = {"article": "body", "headline": "title"}
    columns: dict[str, dict[str, str]] = {
        "mitra_bo_zh": IDENTITY, "udhr_bo_zh": IDENTITY, "sib200_flores_bo_zh": IDENTITY,
        "nanhai_headlines_bo": article, "cmrc2018": {"question": "question"}, "cmmlu": {"q": "Question"},
        "tibetan_wordlists": {"syllable": "1"}, "english_choices": {}, "en_dz_ui": {"en": "en", "dz": "dz"},
    }  # fmt: skip
    files = [path for path in sorted(shared.rglob("*.*")) if path.suffix in (".jsonl", ".json", ".csv", ".tsv")]
    assert len(files) > 70
    total = Counts()
    for path in files:
        wanted = columns[path.relative_to(shared).parts[0]]
        counts = balanced(str(path), [path], {"form": "form"} if "particles" in path.name else wanted)
        total.lines, total.good = total.lines + counts.lines, total.good + counts.good
    assert total.lines > 100_000 and total.good > 100_000


@pytest.mark.parametrize(
    ("items", "lines", "fault"),
    [
        ([Item(1, NoRow.HEADER), Item(2, {}, 3), Item(5, NoRow.BLANK), Item(6, BAD)], 6, ""),
        ([], 0, ""),
        ([Item(1, {}), Item(3, {})], 3, "row 3 follows line 1"),  # a lost line
        ([Item(1, {}, 2), Item(2, {})], 2, "row 2 follows line 2"),  # a line read twice
        ([Item(2, {})], 2, "row 2 follows line 0"),  # an unreported header
        ([Item(1, {}), Item(2, {})], 4, "4 lines were read, but 2 became rows"),  # a lost end
        ([Item(1, {}), Item(2, {}, 3)], 2, "2 lines were read, but 4 became rows"),
    ],
)
def test_a_reader_that_loses_lines_is_stopped(items: list[Item], lines: int, fault: str) -> None:
    counts = Counts()
    if fault:
        with pytest.raises(ValueError, match=rf"^t\.csv: {fault}.*; this is a fault of the reader"):
            list(account("t.csv", items, LineCounter(lines), counts))
    else:
        rows = list(account("t.csv", items, LineCounter(lines), counts))
        assert rows == [(item.number, item.row) for item in items if not isinstance(item.row, NoRow)]
        assert counts.lines == lines


def test_the_counts_of_a_csv_file_by_kind(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes('zh,bo,k\n一,ཀ,a\n\n"一\n\n二",ཁ,a\n三,,a\n四,ང,b\n,,,\n'.encode())
    counts = Counts()
    list(stream(str(path), IDENTITY, where={"k": "a"}, counts=counts))
    assert counts == Counts(lines=9, header=1, blank=2, continued=2, good=2, bad=1, skipped=1)


def test_the_report_of_a_prepared_corpus_accounts_for_each_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes('zh,bo\n一,ཀ\n\n"二\n三",ཁ\n四\n'.encode())
    report = prepare(CorpusRequest(str(path), IDENTITY, bad_rows="quarantine"), cache=tmp_path / "cache").report
    assert {name: report[name] for name in ("lines", "blank", "header", "continued", "skipped", "read", "kept")} == {
        "lines": 6, "blank": 1, "header": 1, "continued": 1, "skipped": 0, "read": 3, "kept": 2,
    }  # fmt: skip


ODD = [
    "\x0c",
    "\x0b",
    "\x1c",
    "\x1e",
    "\x85",
    "\u2028",
    "\u2029",
    "\0",
    "\ufeff",
    "\u3000",
    "\r",
    "\\n",
    '"',
    '""',
    "\t\t",
    ",,",
    "'",
]
"""Characters that Python's ``str.splitlines`` or a reader may take for a line break or for a blank line."""


@pytest.mark.parametrize("name", ["t.tsv", "t.csv", "t.jsonl", "t.txt", "t.{zh,bo}"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "mixed"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "open"])
def test_only_a_line_feed_ends_a_line(tmp_path: Path, name: str, end: str, last: bool) -> None:
    texts = [f"{a}{odd}{b}" for odd in ODD for a, b in (("一", "二"), ("", "二"), ("一", ""), ("", ""))]
    lines = [text if name in ("t.txt", "t.{zh,bo}") else _line(name, text) for text in ["zh", *texts]]
    ends = [("\r\n" if i % 3 else "\n") if end == "mixed" else end for i in range(len(lines))]
    data = "".join(line + mark for line, mark in zip(lines, ends, strict=True))
    data = data if last else data + lines[1]
    files = [tmp_path / f"t.{name}" for name in ("zh", "bo")] if "{" in name else [tmp_path / name]
    for file in files:
        file.write_bytes(data.encode())
    balanced(str(tmp_path / name), files[:1], {"zh": "zh"})


def _line(name: str, text: str) -> str:
    if name == "t.jsonl":
        return json.dumps({"zh": text}, ensure_ascii=False)
    mark = "\t" if name == "t.tsv" else ","
    return f"{text}{mark}x" if text != "zh" else f"zh{mark}x"
