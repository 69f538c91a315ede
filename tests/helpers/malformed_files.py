"""Malformed corpus files, each with the number of rows or the error that reading it must give."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

PAIR = {"zh": "一", "bo": "ཀ"}
LINE = '{"zh": "一", "bo": "ཀ"}\n'
CSV = "zh,bo\n一,ཀ\n"
TMX = "<tmx version='1.4'><header/><body>{}</body></tmx>"
ZH, BO = "<tuv xml:lang='zh'><seg>一</seg></tuv>", "<tuv xml:lang='bo'><seg>ཀ</seg></tuv>"
UNIT = f"<tu>{ZH}{BO}</tu>"
FAULT = -1
SQUAD = {"q": "question", "a": "answer"}


class Case(NamedTuple):
    """A file and the expected result of reading it.

    Attributes:
        name: Name of the source in the test's folder.
        content: Text or bytes of the file, or a function that makes it and returns the source.
        good: Number of good rows.
        bad: Number of bad rows, or FAULT for a file that cannot be used.
        said: Parts of the first error's message.
        columns: Columns to read.
    """

    name: str
    content: str | bytes | Callable[[Path], object]
    good: int
    bad: int
    said: str = ""
    columns: dict[str, str] = {"zh": "zh", "bo": "bo"}


def row(**values: Any) -> str:
    return json.dumps({**PAIR, **values}) + "\n"


def parquet(rows: dict[str, list[Any]]) -> bytes:
    import pyarrow
    from pyarrow.parquet import write_table

    stream = io.BytesIO()
    write_table(pyarrow.table(rows), stream)
    return stream.getvalue()


def not_text() -> bytes:
    import pyarrow

    bytes_ = pyarrow.array([b"\xe4\xb8\x80", b"\xff", b"\xe4\xb8\x80"])
    return parquet({"zh": pyarrow.Array.from_buffers(pyarrow.string(), 3, bytes_.buffers()), "bo": ["ཀ"] * 3})


def files(**contents: str | bytes) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for name, content in contents.items():
            path = folder / name.replace("__", ".")
            path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def questions(*paragraphs: object) -> str:
    return json.dumps({"version": "v1", "data": [{"title": "t", "paragraphs": list(paragraphs)}]})


def question(**values: object) -> dict[str, object]:
    return {"context": "c", "qas": [{"id": "1", "question": "q", "answers": [{"text": "a"}], **values}]}


ENCODINGS = [
    Case("utf16.jsonl", (LINE * 2).encode("utf-16"), 2, 0),
    Case("utf16be.jsonl", b"\xfe\xff" + LINE.encode("utf-16-be"), 1, 0),
    Case("utf16le_no_mark.jsonl", LINE.encode("utf-16-le"), 0, FAULT, "iconv -f UTF-16LE"),
    Case("utf16be_no_mark.csv", CSV.encode("utf-16-be"), 0, FAULT, "iconv -f UTF-16BE"),
    Case("utf32.tsv", CSV.encode("utf-32"), 0, FAULT, "iconv -f UTF-32"),
    Case("utf32_no_mark.csv", CSV.encode("utf-32-le"), 0, FAULT, "iconv -f UTF-32LE"),
    Case("utf16_long.csv", (CSV + "一二三上,ཀཁག\n" * 9000).encode("utf-16-le"), 0, FAULT, "iconv -f UTF-16LE"),
    Case(
        "gbk.jsonl", LINE.encode() + '{"zh": "中文", "bo": "x"}\n'.encode("gbk") * 2, 1, 2, ":2: not UTF-8|0xd6|iconv"
    ),
    Case("gb18030.csv", b"zh,bo\n" + "中,文\n".encode("gb18030") * 3, 0, 3, ":2: not UTF-8|iconv"),
    Case("big5.csv", CSV.encode() + "中,文\n".encode("big5"), 1, 1, ":3: not UTF-8|iconv"),
    Case("latin1.tsv", "zh\tbo\ncafé\tx\nb\ty\n".encode("latin-1"), 1, 1, ":2: not UTF-8 (byte 0xe9)"),
    Case("gbk_header.csv", "中,文\nzh,bo\n".encode("gbk"), 0, FAULT, ":1: not UTF-8|iconv"),
    Case("cut_character.jsonl", LINE.encode() + LINE.encode()[:-4] + b"\n" + LINE.encode(), 2, 1, ":2: not UTF-8"),
    Case("cesu.jsonl", b'{"zh": "\xed\xa0\xbc\xed\xbf\x94", "bo": "x"}\n' + LINE.encode(), 1, 1, ":1: not UTF-8"),
    Case("overlong.csv", CSV.encode() + b"\xc0\x80,x\n", 1, 1, ":3: not UTF-8 (byte 0xc0)"),
    Case("quoted_gbk.csv", CSV.encode() + b'"a\n\xd6\xd0",x\n' + "二,ཁ\n".encode(), 2, 1, ":3: not UTF-8 (byte 0xd6)"),
    Case("mark_only.jsonl", b"\xef\xbb\xbf", 0, FAULT, "no rows"),
    Case("mark_inside.jsonl", LINE + "\ufeff" + LINE, 1, 1, ":2: not JSON|\\ufeff"),
    Case("two_marks.csv", "\ufeff\ufeff" + CSV, 0, FAULT, "no column 'zh'|\\ufeffzh"),
]
JSON = [
    Case("cut.jsonl", LINE + LINE[:9], 1, 1, ":2: not JSON|one whole object per line"),
    Case("cut_inside.jsonl", LINE + LINE[:9] + "\n" + LINE, 2, 1, ":2: not JSON"),
    Case("nan.jsonl", LINE + row(zh=float("nan")) + row(bo=float("-inf")), 1, 2, ":2: 'zh'|nan (float)|drop the row"),
    Case("nan_elsewhere.jsonl", row(score=float("nan")), 1, 0),
    Case("deep.jsonl", LINE + "[" * 100_000 + "\n" + '{"a":' * 100_000 + "\n", 1, 2, ":2: not JSON (nested"),
    Case("deep_value.jsonl", LINE + row(zh=json.loads("[" * 200 + "]" * 200)), 1, 1,
         ":2: nested more than 64 deep; flatten it"),
    Case("deep_list.jsonl", LINE + "[" * 900 + "]" * 900 + "\n" + row(more=json.loads("[" * 64 + "]" * 64)), 1, 2,
         ":2: nested more than 64 deep"),
    Case("less_deep.jsonl", row(more=json.loads("[" * 63 + "]" * 63)), 1, 0),
    Case("key_twice.jsonl", LINE + '{"zh": "a", "zh": "b", "bo": "c"}\n', 1, 1, ":2: the object has 'zh' twice"),
    Case("no_objects.jsonl", LINE + '["a", "b"]\n7\nnull\n"zh"\ntrue\n', 1, 5, ":2: a JSON list|one object per line"),
    Case("no_text.jsonl", LINE + row(zh=5) + row(zh=None) + row(zh=["一"]) + row(bo={"a": 1}) + row(bo=True), 1, 5,
         ":2: 'zh', the field zh, is not text but 5 (int)|drop the row"),
    Case("blank_text.jsonl", row() + row(zh="") + row(bo=" \u3000\n"), 1, 2, ":2: 'zh'|empty ('')|fill it in"),
    Case("no_column.jsonl", '{"zh": "a", "tibetan": "b"}\n', 0, FAULT, ":1: no column 'bo'|columns: {bo: tibetan}"),
    Case("no_column_later.jsonl", LINE + '{"zh": "a"}\n{}\n', 1, 2, ":2: no column 'bo'|data.init_args.columns"),
    Case("misspelt_later.jsonl", LINE + '{"zh": "a", "Bo": "b"}\n', 1, 1, ":2: no column 'bo'|{bo: Bo}"),
    Case("many_columns.jsonl", json.dumps({f"column {i}\n": "" for i in range(9999)}), 0, FAULT, ":1: no column 'zh'"),
    Case("more_columns.jsonl", row(more=1) + row(**{"": []}), 2, 0),
    Case("python.jsonl", LINE + str(PAIR) + "\n", 1, 1, ":2: not JSON"),
    Case("commas.jsonl", LINE.replace("}", "},"), 0, 1, ":1: not JSON"),
    Case("comment.jsonl", "// pairs\n" + LINE, 1, 1, ":1: not JSON"),
    Case("two_a_line.jsonl", LINE[:-1] + LINE + LINE, 1, 1, ":1: not JSON (Extra data"),
    Case("raw_nul.jsonl", LINE + LINE.replace("一", "一\0"), 1, 1, ":2: not JSON"),
    Case("nul.jsonl", LINE + row(zh="a\0b") + row(bo="\x1b[0m"), 1, 2, ":2: 'zh'|control character U+0000|take it out"),
    Case("next_line.jsonl", LINE + row(zh="a\x85b"), 1, 1, ":2: 'zh'|U+0085"),
    Case("raw_tab.jsonl", LINE.replace("一", "\t") + LINE, 1, 1, ":1: not JSON (Invalid control character"),
    Case("separators.jsonl", row(zh="a\u2028b\u2029\tc\r\nd") + LINE.replace("一", "a\u2028b"), 2, 0),
    Case("long_line.jsonl", LINE + row(zh="一" * 1_700_000) + LINE, 2, 1, ":2: a line of more than 8,000,000 bytes"),
    Case("long_field.jsonl", LINE + row(zh="x" * 1_000_001) + row(bo="x" * 1_000_000), 2, 1,
         ":2: 'zh', the field zh, is of 1,000,001 characters|a line break got lost"),
    Case("digits.jsonl", LINE + f'{{"zh": {"1" * 5000}, "bo": "x"}}\n', 1, 1, ":2: 'zh'|a number of 5,000 digits"),
    Case("mixed_ends.jsonl", LINE + LINE[:-1] + "\r\n" + LINE, 3, 0),
    Case("cr.jsonl", LINE.replace("\n", "\r") * 3, 0, FAULT, ":1: its lines end in CR alone|tr"),
    Case("cr_inside.jsonl", LINE + LINE[:-1] + "\r" + LINE, 1, 1, ":2: not JSON (Extra data"),
    Case("surrogates.jsonl", LINE + LINE.replace("一", "\\ud83c") + LINE.replace("一", "\\ude00x"), 1, 2,
         ":2: 'zh'|half a surrogate pair"),
    Case("surrogate_key.jsonl", '{"\\ud83c": 1, "zh": "a"}\n', 0, FAULT, ":1: no column 'bo'|\\ud83c"),
    Case("empty.jsonl", "", 0, FAULT, "no rows|another file"),
    Case("blank.jsonl", "\n \r\n\t\n", 0, FAULT, "no rows"),
    Case("page.jsonl", "<!DOCTYPE html>\n<html>\n\n</html>\n", 0, 3, ":1: not JSON"),
    Case("binary.jsonl", bytes(range(256)) * 9, 0, 10, ":1: not JSON"),
    Case("array.json", f"[{LINE},{LINE},{LINE[:9]}", 2, FAULT, ":3: not JSON|mend it"),
    Case("array_no_comma.json", f"[{LINE}{LINE}]", 1, FAULT, ":2: not JSON (a comma or ] is wanted here"),
    Case("array_comma.json", f"[{LINE},]", 1, FAULT, ":2: not JSON"),
    Case("array_mixed.json", f'[{LINE},1,null,["a"],{LINE},{{"zh":"a","zh":"b"}}]', 2, 4, ":2: a JSON int"),
    Case("array_numbers.json", f"[{','.join(['123456789'] * 15_000)}]", 0, 15_000, ":1: a JSON int"),
    Case("array_deep.json", "[" * 100_000, 0, FAULT, ":1: not JSON (nested more than 64 deep)"),
    Case("array_deep_element.json", f"[{LINE}, {'[' * 400 + ']' * 400}, {LINE}]", 2, 1, ":2: nested more than 64 deep"),
    Case("array_digits.json", f'[{LINE}, {{"zh": {"1" * 5000}, "bo": "x"}}, {"1" * 1_000_000}, {LINE}]', 2, 2,
         ":2: 'zh'|a number of 5,000 digits|write it as text"),
    Case("digits_elsewhere.jsonl", LINE.replace("}", f', "n": {"7" * 1_000_000}}}'), 1, 0),
    Case("array_open.json", '[{"zh": "' + "x" * 9_000_000, 0, FAULT, ":1: not JSON (Unterminated string"),
    Case("array_gbk.json", b"[" + LINE.encode() + b',{"zh": "\xd6"}]', 0, FAULT, ":2: not UTF-8 (byte 0xd6)|iconv"),
    Case("array_tail.json", f"[{LINE}]\n[{LINE}]", 1, FAULT, ":3: not JSON ('[' after the array"),
    Case("array_empty.json", " [ ] ", 0, FAULT, "no rows"),
    Case("pretty.json", json.dumps(PAIR, indent=1), 0, FAULT, "a JSON object with the keys zh (text), bo|jq -c"),
    Case("squad_cut.json", questions(question(), question())[:-40], 0, FAULT, ":1: not JSON", SQUAD),
    Case("squad_odd.json", questions(question(), None, {"qas": 1}, {"qas": [None]}, question(answers=[])), 1, 4,
         ":2: no paragraph with questions in SQuAD's form", SQUAD),
    Case("squad_null.json", questions(question(question=None), question(answers={"text": ["a"]})), 0, 2,
         ":1: 'question'|NoneType", SQUAD),
]  # fmt: skip
CELLS = [
    Case("open_quote.csv", CSV + '"二,ཁ\n三,ག\n四,ང\n', 3, 1, ":3: cannot be split into cells|quote"),
    Case("open_quote_twice.csv", CSV + '"二,ཁ\n三,ག\n四,"ང\n五,ཅ\n', 3, 2, ":3: cannot be split into cells"),
    Case("open_quote_at_end.tsv", CSV.replace(",", "\t") + '二\t"ཁ', 2, 0),
    Case("open_quote_at_end.csv", CSV + '二,"ཁ', 1, 1, ":3: cannot be split into cells"),
    Case("quoted_lines.tsv", 'zh\tbo\n"一\tཀ\n二\tཁ\n三"\tག\n', 3, 0),
    Case("cr_inside.tsv", "zh\tbo\n二\r\tཁ\n三\tག\n", 1, 1, ":2: a CR inside the line"),
    Case("blank_lines.tsv", "zh\tbo\n \n\n\t\n一\tཀ\n\n", 1, 0),
    Case("open_quote_long.csv", CSV + '"二,ཁ\n' + f"三,{'ག' * 37}\n" * 30_000, 30_001, 1, ":3: cannot be split into"),
    Case("open_header.csv", '"zh,bo\n一,ཀ\n', 0, FAULT, ":1: cannot be split into cells"),
    Case("behind_quote.csv", CSV + '"二"x,ཁ\n三,ག\n', 2, 1, ":3: cannot be split into cells"),
    Case(
        "quote_over_bad_line.csv", CSV.encode() + b'"a\n' + b"x" * 9_000_000 + "\n二,ཁ\n".encode(), 2, 2, ":3: cannot"
    ),
    Case("few.csv", CSV + "二\n三,ག\n", 2, 1, ":3: 1 cells under a header of 2|.jsonl"),
    Case("many.csv", CSV + "二,三,ག\n", 1, 1, ":3: 3 cells|a comma"),
    Case("many.tsv", "zh\tbo\n一\t二\tཀ\n", 0, 1, ":2: 3 cells|a tab"),
    Case("header_again.csv", CSV * 3, 3, 2, ":3: the header again|drop"),
    Case("name_twice.csv", "zh,bo,zh\n一,ཀ,二\n", 0, FAULT, ":1: the header names 'zh' twice|rename"),
    Case("no_name.csv", "zh,,bo\n一,x,ཀ\n", 0, FAULT, ":1: the header has no name for column 2"),
    Case("first_no_name.csv", ",zh,bo\n0,一,ཀ\n", 1, 0),
    Case("semicolon.csv", "zh;bo\n一;ཀ\n", 0, FAULT, ":2: no column 'zh'|zh;bo"),
    Case("spaces.tsv", "zh    bo\n一    ཀ\n", 0, FAULT, ":2: no column 'zh'"),
    Case("no_header.tsv", "一\tཀ\n二\tཁ\n", 0, FAULT, ":2: no column 'zh'|its first line must name them"),
    Case("many_names.csv", ",".join(map(str, range(1_000_000))) + ",0\n", 0, FAULT, ":1: the header names '0' twice"),
    Case("newline_in_name.csv", '"z\nh",bo\n一,ཀ\n', 0, FAULT, ":3: no column 'zh'|z\\nh"),
    Case("header_only.csv", "zh,bo\n", 0, FAULT, "no rows"),
    Case("empty.tsv", "", 0, FAULT, "no rows"),
    Case("blank_cells.csv", CSV + ",\n二,\n \n\n,ཁ\n", 1, 2, ":4: 'bo'|empty|fill it in"),
    Case("nul.csv", CSV + "二\0,ཁ\n三,ག\n", 2, 1, ":3: "),
    Case("nul_cells.tsv", "zh\tbo\n" + "\0\0\0\0\t\0\0\n" * 9, 0, 9, ":2: "),
    Case("long_cell.csv", CSV + "x" * 1_000_001 + ",x\n二,ཁ\n", 2, 1, ":3: cannot be split into cells (field larger"),
    Case("long_line.csv", CSV + "x" * 10_000_000 + "\n二,ཁ\n", 2, 1, ":3: a line of more than"),
    Case("mixed_ends.csv", CSV + "二,ཁ\r\n三,ག", 3, 0),
    Case("cr.csv", CSV.replace("\n", "\r"), 0, FAULT, ":1: its lines end in CR alone|tr"),
    Case("cr_inside.csv", CSV + "二\r,ཁ\n三,ག\n", 2, 1, ":3: cannot be split into cells"),
    Case("book.csv", b"PK\x03\x04" + bytes(99), 0, FAULT, "not text but a zip archive (or a spreadsheet)|.csv"),
]
ZIPPED = [
    Case("cut.jsonl.gz", gzip.compress(LINE.encode() * 99)[:-9], 0, FAULT, "not a whole gzip file|zip it again"),
    Case("half.csv.gz", gzip.compress(os.urandom(9999))[:5000], 0, FAULT, "not a whole gzip file"),
    Case("plain.jsonl.gz", LINE, 0, FAULT, "not a whole gzip file"),
    Case("zipped.jsonl", gzip.compress(LINE.encode()), 0, FAULT, "not text but zipped by gzip|end its name in .gz"),
    Case("zipped_twice.jsonl.gz", gzip.compress(gzip.compress(LINE.encode())), 0, FAULT, "not text but zipped by gzip"),
    Case("tail.jsonl.gz", gzip.compress(LINE.encode()) + b"tail", 0, FAULT, "not a whole gzip file"),
    Case("members.jsonl.gz", gzip.compress(LINE.encode()) * 2, 2, 0),
    Case("crc.jsonl.gz", gzip.compress(LINE.encode())[:-8] + bytes(8), 0, FAULT, "not a whole gzip file"),
    Case("empty.jsonl.gz", b"", 0, FAULT, "no rows"),
    Case("xz.jsonl", b"\xfd7zXZ\0\0", 0, FAULT, "zipped by xz; end its name in .xz"),
]
TABLES = [
    Case("empty.parquet", b"", 0, FAULT, "cannot be read as Parquet|write it again"),
    Case("cut.parquet", parquet({"zh": ["一"], "bo": ["ཀ"]})[:-9], 0, FAULT, "cannot be read as Parquet"),
    Case("cut_inside.parquet", (lambda data: data[:4] + bytes(60) + data[64:])(parquet({"zh": ["一"], "bo": ["ཀ"]})), 0,
         FAULT, "cannot be read as Parquet"),
    Case("text.parquet", CSV, 0, FAULT, "cannot be read as Parquet"),
    Case("parquet.jsonl", parquet({"zh": ["一"]}), 0, FAULT, "not text but a Parquet file|.parquet"),
    Case("numbers.parquet", parquet({"zh": [1, 2], "bo": ["ཀ", "ཁ"]}), 0, 2, ":1: 'zh'|1 (int)"),
    Case("nested.parquet", parquet({"zh": [{"a": "一"}], "bo": [["ཀ"]]}), 0, 1, ":1: 'zh'|(dict)"),
    Case("nulls.parquet", parquet({"zh": ["一", None, "二"], "bo": ["ཀ"] * 3}), 2, 1, ":2: 'zh'|NoneType"),
    Case("no_rows.parquet", parquet({"zh": [], "bo": []}), 0, FAULT, "no rows"),
    Case("no_column.parquet", parquet({"zh": ["一"], "b": ["ཀ"]}), 0, FAULT, ":1: no column 'bo'|zh, b"),
    Case("not_text.parquet", not_text(), 2, 1, ":2: not UTF-8"),
    Case("zipped.parquet.gz", gzip.compress(parquet({"zh": ["一"]})), 0, FAULT, "unknown suffix '.parquet.gz'"),
]  # fmt: skip
UNITS = [
    Case("cut.tmx", TMX.format(UNIT * 2)[:-30], 1, FAULT, ":1: not XML|export it again"),
    Case("not_closed.tmx", TMX.format(UNIT + "<tu><tuv></tu>" + UNIT), 1, FAULT, ":1: not XML"),
    Case("empty.tmx", "", 0, FAULT, ":1: not XML"),
    Case("no_units.tmx", TMX.format(""), 0, FAULT, "no rows"),
    Case("xliff.tmx", "<xliff><trans-unit>x</trans-unit></xliff>", 0, FAULT, "not TMX but XML of <xliff>|TMX 1.4"),
    Case("control.tmx", TMX.format(UNIT.replace("一", "\x01")), 0, FAULT, ":1: not XML"),
    Case("gbk.tmx", TMX.format(UNIT.replace("一", "中文").replace("ཀ", "k")).encode("gbk"), 0, FAULT, ":1: not XML"),
    Case("declared_gbk.tmx", b"<?xml version='1.0' encoding='gbk'?>" + TMX.format(UNIT.replace("ཀ", "k")).encode("gbk"),
         1, 0),
    Case("utf16.tmx", ("<?xml version='1.0' encoding='utf-16'?>" + TMX.format(UNIT)).encode("utf-16"), 1, 0),
    Case("doctype.tmx", "<!DOCTYPE tmx SYSTEM 'http://localhost:9/tmx14.dtd'>" + TMX.format(UNIT), 1, 0),
    Case("bomb.tmx", "<!DOCTYPE tmx [<!ENTITY a 'aaaaaaaaaa'>"
         + "".join(f"<!ENTITY a{i} '{f'&a{i - 1};' * 10 if i else '&a;'}'>" for i in range(12)) + "]>"
         + TMX.format(UNIT + UNIT.replace("一", "一&a11;")), 1, FAULT, ":1: not XML"),
    Case("outside.tmx", "<!DOCTYPE tmx [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"
         + TMX.format(UNIT + UNIT.replace("一", "&x;")), 1, 1, ":2: the unit on line 1 uses an entity|write"),
    Case("own_entity.tmx", "<!DOCTYPE tmx [<!ENTITY x 'y'>]>" + TMX.format(UNIT.replace("一", "&x;") + UNIT), 1,
         1, ":1: the unit on line 1 uses an entity"),
    Case("entity.tmx", TMX.format(UNIT.replace("一", "a&nbsp;b")), 0, FAULT, ":1: not XML|nbsp"),
    Case("dtd_entity.tmx", "<!DOCTYPE tmx SYSTEM 'tmx14.dtd'>" + TMX.format(UNIT + UNIT.replace("一", "a&nbsp;b")),
         1, 1, ":2: the unit on line 1 uses an entity"),
    Case("no_variants.tmx", TMX.format("<tu/>" + UNIT), 1, 1, ":1: the unit on line 1 has no <tuv>"),
    Case("one_language.tmx", TMX.format(UNIT + f"<tu>{ZH}</tu>"), 1, 1, ":2: no column 'bo'|the columns are zh"),
    Case("no_language.tmx", TMX.format(UNIT + f"<tu>{ZH}<tuv><seg>x</seg></tuv></tu>"), 1, 1, ":2: |without xml:lang"),
    Case("language_twice.tmx", TMX.format(f"<tu>{ZH}{BO}{ZH}</tu>{UNIT}"), 1, 1, ":1: |has 'zh' twice"),
    Case("no_segment.tmx", TMX.format(UNIT + UNIT.replace("<seg>ཀ</seg>", "")), 1, 1, ":2: 'bo'|empty"),
    Case("deep.tmx", TMX.format(UNIT + UNIT.replace("一", "<hi>" * 9999 + "一" + "</hi>" * 9999)), 1, FAULT,
         "not XML|256 deep"),
    Case("long.tmx", TMX.format(UNIT + UNIT.replace("一", "x" * 11_000_000)), 1, FAULT,
         "more than 8,000,000 bytes without the end of a unit, at unit 2"),
    Case("id_twice.tmx", TMX.format(UNIT.replace("<tu>", "<tu xml:id='a'>") * 3), 3, 0),
    Case("variant_id_twice.tmx", TMX.format(UNIT.replace("<tuv", "<tuv xml:id='a'") * 2), 2, 0),
    Case("declared_id_twice.tmx", "<!DOCTYPE tmx [<!ATTLIST tu tuid ID #IMPLIED>]>"
         + TMX.format(UNIT.replace("<tu>", "<tu tuid='a'>") * 2), 2, 0),
    Case("odd_id.tmx", TMX.format(UNIT.replace("<tu>", "<tu xml:id='1 2'>") + UNIT.replace("<tu>", "<tu xml:id=''>")),
         2, 0),
    Case("prefix.tmx", TMX.format(UNIT + UNIT.replace("一", "<x:y a:b='c'>一</x:y>") + UNIT), 3, 0),
    Case("prefix_cut.tmx", TMX.format(UNIT + UNIT.replace("一", "<x:y>一</x:y>") + UNIT)[:-8], 3, FAULT, ":1: not XML"),
    Case("namespace_no_uri.tmx", TMX.format(UNIT * 2).replace("<tmx ", "<tmx xmlns='a b' "), 2, 0),
    Case("utf16_declared_utf8.tmx", b"\xff\xfe" + f"<?xml version='1.0' encoding='utf-8'?>{TMX.format(UNIT)}".encode(
        "utf-16-le"), 1, 0),
    Case("utf16be_no_mark.tmx", f"<?xml version='1.0' encoding='utf-16'?>{TMX.format(UNIT)}".encode("utf-16-be"), 1, 0),
    Case("mark.tmx", "\ufeff" + TMX.format(UNIT), 1, 0),
    Case("unknown_encoding.tmx", f"<?xml version='1.0' encoding='x-y'?>{TMX.format(UNIT)}", 0, FAULT,
         ":1: not XML|x-y"),
    Case("segment_twice.tmx", TMX.format(UNIT.replace("</seg>", "</seg><seg>x</seg>", 1) + UNIT), 1, 1,
         ":1: the unit on line 1 has 2 <seg> in 'zh'"),
    Case("far.tmx", TMX.format("\n" * 70_000 + "<tu/>" + UNIT), 1, 1, ":1: the unit on line 70001 has no <tuv>"),
    Case("plain.tmx.gz", TMX.format(UNIT), 0, FAULT, "not a whole gzip file"),
]  # fmt: skip
PLAIN = [
    Case("t.{zh,bo}", files(t__zh="一\n二\n", t__bo="ཀ\n"), 1, FAULT, "t.zh 2 and t.bo 1 lines|equally many"),
    Case("u.{zh,bo}", files(u__zh="一\n\n三\n\n", u__bo="ཀ\nཁ\n \n\n"), 1, 2, ":2: 'zh'|empty"),
    Case("v.{zh,bo}", files(v__zh="一\n二\n", v__bo="ཀ\n".encode() + b"\xd6\n"), 1, 1, "v.bo:2: not UTF-8|iconv"),
    Case("w.{zh,bo}", files(w__zh="一\n二\n", w__bo="ཀ\rཁ\nག\n"), 1, 1, "w.bo:1: a CR inside the line"),
    Case("x.{zh,bo}", files(x__zh="", x__bo=""), 0, FAULT, "no rows"),
    Case("y.{zh,bo}", files(y__zh="一\n"), 0, FAULT, "y.bo: no such file|did you mean y.zh?"),
    Case("z.{zh,ug}", files(z__zh="一\n", z__ug="x\n"), 0, FAULT, ":1: no column 'bo'|the columns are zh, ug"),
    Case("a.{zh}", files(), 0, FAULT, "braces name the files of a pair|train.{zh,bo}"),
    Case("a.{zh,}", files(), 0, FAULT, "braces name the files of a pair"),
    Case("a.{zh,bo", files(), 0, FAULT, "braces name the files of a pair"),
    Case("a.{zh,zh}", files(), 0, FAULT, "once each"),
    Case("{zh,bo}.csv", files(zh__csv=CSV, bo__csv=CSV), 0, FAULT, "braces pair plain text|a pattern with *"),
    Case("c.{zh,bo}", lambda folder: [(folder / f"c.{name}").mkdir() for name in ("zh", "bo")] and None, 0, FAULT,
         "c.zh: not a file"),
    Case("two.txt", "一\n二\n", 0, FAULT, "2 columns are wanted (bo, zh)|source_only"),
    Case("one.txt", "一\r\n\n二\rx\n\0\n三", 2, 2, ":3: a CR inside the line", {"zh": "zh"}),
]  # fmt: skip


def at(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda folder: make(folder / name)


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


PATHS = [
    Case("loop.jsonl", at("loop.jsonl", lambda path: path.symlink_to(path)), 0, FAULT, "a link to|mend the link"),
    Case("dangling.jsonl", at("dangling.jsonl", lambda path: path.symlink_to("none")), 0, FAULT, "a link to none"),
    Case("pipe.jsonl", at("pipe.jsonl", lambda path: os.mkfifo(path)), 0, FAULT, "not a file but a pipe or device"),
    Case("null.jsonl", at("null.jsonl", lambda path: path.symlink_to("/dev/null")), 0, FAULT, "a pipe or device"),
    Case("zero.csv", at("zero.csv", lambda path: path.symlink_to("/dev/zero")), 0, FAULT, "a pipe or device"),
    Case("socket.csv", at("socket.csv", listening), 0, FAULT, "a pipe or device"),
    Case("folder.jsonl", at("folder.jsonl", lambda path: path.mkdir()), 0, FAULT, "cannot load it|name one file"),
    Case("pipe.{zh,bo}", lambda folder: [os.mkfifo(folder / f"pipe.{name}") for name in ("zh", "bo")] and None,
         0, FAULT, "pipe.zh: not a file"),
    Case("x" * 300 + ".jsonl", files(), 0, FAULT, "cannot be read (File name too long)"),
    Case("nul\0.jsonl", files(), 0, FAULT, "nul\\x00.jsonl: no such file"),
    Case("missing\n.jsonl", files(), 0, FAULT, "missing\\n.jsonl: no such file|the folder is empty"),
    Case("in a\nfolder/a b\t📜.jsonl", lambda folder: None, 0, FAULT, "nor is there a folder"),
    Case("a\nb 📜 ཀ.jsonl", LINE + "x\n", 1, 1, "a\\nb 📜 ཀ.jsonl:2: not JSON"),
    Case("a.jsonl/b.jsonl", files(a__jsonl=LINE), 0, FAULT, "nor is there a folder"),
    Case("*.csv", files(a__csv=CSV, b__csv=CSV + "x\n", c__md="x"), 2, 1, "b.csv:3: 1 cells"),
    Case("?.csv", files(a__csv=CSV, b__csv="zh,ug\n一,x\n"), 1, FAULT, "b.csv:2: no column 'bo'"),
    Case("no*.csv", files(a__csv=CSV), 0, FAULT, "no file matches|paths start where you run from"),
    Case("*", files(a__csv=CSV, b__md="x"), 0, FAULT, "b.md: unknown suffix '.md'"),
    Case("bad.xml", "<a/>", 0, FAULT, "unknown suffix '.xml'|.tmx"),
    Case("noname", LINE, 0, FAULT, "unknown suffix ''|train.{zh,bo}"),
]  # fmt: skip
CASES = [*ENCODINGS, *JSON, *CELLS, *ZIPPED, *TABLES, *UNITS, *PLAIN, *PATHS]


def write(case: Case, folder: Path) -> str:
    """Write the case's files; return its source."""
    source = folder / case.name
    if callable(case.content):
        case.content(folder)
    else:
        source.write_bytes(case.content if isinstance(case.content, bytes) else case.content.encode())
    return str(source)
