"""Any texts written in any format are read back unchanged."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from semalign_pl.data.reading.sources import read

Pairs = list[tuple[str, str]]
ANY = st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\t\n\r\"',;#\\\u0f0b\u2028\ufeff ")
XML = ANY.filter(lambda character: character not in "\ufffe\uffff")
LINES = ANY.filter(lambda character: character not in "\n\r")
CELLS = LINES.filter(lambda character: character != "\t")


def pairs(characters: st.SearchStrategy[str]) -> st.SearchStrategy[Pairs]:
    text = st.text(characters, min_size=1, max_size=20).filter(lambda text: text.strip() != "")
    return st.lists(st.tuples(text, text).filter(lambda pair: pair != ("zh", "bo")), min_size=1, max_size=6)


def jsonl(rows: Pairs, ascii: bool = False) -> bytes:
    return "".join(json.dumps({"zh": a, "bo": b}, ensure_ascii=ascii) + "\n" for a, b in rows).encode()


def cells(rows: Pairs, delimiter: str, quoting: Any = csv.QUOTE_MINIMAL) -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, quoting=quoting).writerows([("zh", "bo"), *rows])
    return stream.getvalue().encode()


def parquet(rows: Pairs) -> bytes:
    import pyarrow
    from pyarrow.parquet import write_table

    stream = io.BytesIO()
    write_table(pyarrow.Table.from_pylist([{"zh": a, "bo": b} for a, b in rows]), stream)
    return stream.getvalue()


def tmx(rows: Pairs) -> bytes:
    def variant(language: str, text: str) -> str:
        return f'<tuv xml:lang="{language}"><seg>{escape(text, {chr(13): "&#13;"})}</seg></tuv>'

    units = "".join(f"<tu>{variant('zh', a)}{variant('bo', b)}</tu>\n" for a, b in rows)
    return f"<tmx><body>{units}</body></tmx>".encode()


FORMATS: dict[str, tuple[st.SearchStrategy[str], Callable[[Pairs], bytes]]] = {
    "c.jsonl": (ANY, jsonl),
    "ascii.jsonl": (ANY, lambda rows: jsonl(rows, ascii=True)),
    "c.jsonl.gz": (ANY, lambda rows: gzip.compress(jsonl(rows))),
    "c.json": (ANY, lambda rows: json.dumps([{"zh": a, "bo": b} for a, b in rows]).encode()),
    "c.csv": (ANY, lambda rows: cells(rows, ",")),
    "c.tsv": (ANY, lambda rows: cells(rows, "\t", csv.QUOTE_ALL)),
    "plain.tsv": (CELLS, lambda rows: "".join(f"{a}\t{b}\n" for a, b in [("zh", "bo"), *rows]).encode()),
    "c.csv.gz": (ANY, lambda rows: gzip.compress(cells(rows, ","))),
    "c.parquet": (ANY, parquet),
    "c.tmx": (XML, tmx),
    "c.tmx.gz": (XML, lambda rows: gzip.compress(tmx(rows))),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_file(name: str) -> None:
    characters, write = FORMATS[name]

    @settings(max_examples=60, deadline=None)
    @given(pairs(characters))
    def check(rows: Pairs) -> None:
        if name == "plain.tsv":  # a text in quotes may be one that a writer quoted
            assume(not any(text[0] == text[-1] == '"' for row in rows for text in row))
        with TemporaryDirectory() as folder:
            path = Path(folder) / name
            path.write_bytes(write(rows))
            assert [(row["zh"], row["bo"]) for row in read(str(path), {"zh": "zh", "bo": "bo"}).values()] == rows

    check()


@settings(max_examples=60, deadline=None)
@given(pairs(LINES), st.sampled_from(["", ".gz"]), st.sampled_from(["\n", "\r\n"]))
def test_a_pair_of_files(rows: Pairs, suffix: str, end: str) -> None:
    with TemporaryDirectory() as folder:
        for column, texts in zip(("zh", "bo"), zip(*rows, strict=True), strict=True):
            data = end.join(texts).encode("utf-8-sig")
            (Path(folder) / f"t.{column}{suffix}").write_bytes(gzip.compress(data) if suffix else data)
        source = f"{folder}/t.{{zh,bo}}{suffix}"
        assert [(row["zh"], row["bo"]) for row in read(source, {"zh": "zh", "bo": "bo"}).values()] == rows
