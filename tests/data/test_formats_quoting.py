"""TSV files have no quoting, so each line is a row; Excel's quoted export is recognised from the whole file."""

from __future__ import annotations

import csv
import io
import json
import logging
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.batch_recorder import parse

from semalign_pl.data.reading.formats import BadRow, Counts
from semalign_pl.data.reading.sources import read, stream

IDENTITY = {"zh": "zh", "bo": "bo"}
ISSUE = 'zh\tbo\n"一号\tཀ\n二号\tཁ\n三号"\tག\n四号\tང\n'


def pairs(path: Path, **more: str) -> list[tuple[str, str]]:
    rows = [row for _, row in stream(str(path), IDENTITY, **more)]  # type: ignore[arg-type]
    assert not any(isinstance(row, BadRow) for row in rows)
    return [(row["zh"], row["bo"]) for row in rows if isinstance(row, dict)]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_quote_is_text_and_each_line_a_row(tmp_path: Path, end: str) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(ISSUE.replace("\n", end).encode())
    assert pairs(path) == [('"一号', "ཀ"), ("二号", "ཁ"), ('三号"', "ག"), ("四号", "ང")]


def stray(texts: list[str], seed: int) -> list[str]:
    """Texts with quotes as people type them: around a text, at one end, in the middle, doubled."""
    draw = random.Random(seed)
    forms: list[Callable[[str], str]] = [
        lambda t: f'"{t}"', lambda t: f'"{t}', lambda t: f'{t}"', lambda t: f'{t[:3]}"{t[3:]}', lambda t: f'""{t}""',
        lambda t: f'"{t[:2]}" {t}', lambda t: f'{t} "{t[:2]}"', lambda t: f'"{t} ""x"""', lambda t: '"',
    ]  # fmt: skip
    return [draw.choice(forms)(text) if draw.random() < 0.2 else text for text in texts]


@pytest.mark.parametrize("seed", range(4))
def test_a_file_made_by_paste(tmp_path: Path, seed: int) -> None:
    texts = [f"文本 {i}, 第{i % 7}句。" for i in range(2000)], [f"ཚིག་ {i}།" for i in range(2000)]
    columns = [stray(side, seed * 2 + i) for i, side in enumerate(texts)]
    check_pasted(tmp_path, columns)


def test_real_texts_with_quotes_made_by_paste(tmp_path: Path, shared: Path) -> None:
    lines = (shared / "en_dz_ui/train.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    rows = [(row["en"], row["dz"]) for row in map(json.loads, lines)]
    rows = [row for row in rows if not set("\t\n\r") & set("".join(row))]
    quoted = [row for row in rows if '"' in "".join(row)]
    assert len(quoted) > 50
    check_pasted(tmp_path, [list(side) for side in zip(*(quoted + rows[:1900]), strict=True)])


def check_pasted(folder: Path, columns: list[list[str]]) -> None:
    for name, side in zip(("zh", "bo"), columns, strict=True):
        (folder / name).write_text("".join(f"{line}\n" for line in (name, *side)), encoding="utf-8")
    path = folder / "t.tsv"
    with path.open("wb") as file:
        subprocess.run(["paste", "zh", "bo"], cwd=folder, stdout=file, check=True)
    counts = Counts()
    rows = [row for _, row in stream(str(path), IDENTITY, counts=counts)]
    written = [tuple(line.split("\t")) for line in path.read_text(encoding="utf-8").split("\n")[1:-1]]
    assert [tuple(row.values()) for row in rows if isinstance(row, dict)] == written
    assert counts == Counts(lines=len(written) + 1, header=1, good=len(written))


# Texts that a writer must quote, each in its own file and all in one.
HARD = ['他说"好"', "一\t二", "一\n二\n三", '"', '""', "a\r\nb", '"quoted"']
DOUBTFUL = "一号\tཀ\n二号"  # alone it could also be two lines with stray quotes


def by_pandas(rows: list[tuple[str, str]]) -> bytes:
    import pandas

    return pandas.DataFrame(rows, columns=["zh", "bo"]).to_csv(sep="\t", index=False).encode()


def by_csv(quoting: int, end: str = "\r\n") -> Callable[[list[tuple[str, str]]], bytes]:
    def write(rows: list[tuple[str, str]]) -> bytes:
        stream = io.StringIO(newline="")
        csv.writer(stream, delimiter="\t", quoting=quoting, lineterminator=end).writerows([("zh", "bo"), *rows])  # type: ignore[arg-type]
        return stream.getvalue().encode()

    return write


def by_excel(rows: list[tuple[str, str]]) -> bytes:
    """Excel's "Text (Tab delimited)", in UTF-8: CR LF; quotes around cells with a quote, comma, tab or line break."""

    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if set('",\t\n\r') & set(text) else text

    return "".join("\t".join(map(cell, row)) + "\r\n" for row in [("zh", "bo"), *rows]).encode()


WRITERS = {
    "pandas": by_pandas,
    "csv": by_csv(csv.QUOTE_MINIMAL),
    "excel": by_excel,
    "all quoted": by_csv(csv.QUOTE_ALL, "\n"),
    "all but numbers": by_csv(csv.QUOTE_NONNUMERIC),
}


@pytest.mark.parametrize("hard", [[text] for text in HARD] + [[*HARD, DOUBTFUL]], ids=ascii)
@pytest.mark.parametrize("writer", WRITERS)
def test_a_quoted_export_is_known(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, writer: str, hard: list[str]
) -> None:
    rows = [("一", "ཀ"), *((text, "ཁ") for text in hard), ("三, 四", "ག"), *(("五", text) for text in hard)]
    path = tmp_path / "t.tsv"
    path.write_bytes(WRITERS[writer](rows))
    with caplog.at_level(logging.WARNING):
        assert pairs(path) == rows == pairs(path)
    (said,) = caplog.messages
    assert said.startswith(str(path)) and "quoting: none" in said and said.isprintable()


def test_excel_quotes_for_a_comma(tmp_path: Path) -> None:
    rows = [("One, two", "ཀ"), ("three", "ཁ")]
    path = tmp_path / "t.tsv"
    path.write_bytes(by_excel(rows))
    assert pairs(path) == rows
    path.write_bytes(by_excel(rows) + b"four, five\tx\r\n")  # Excel would have quoted this
    assert pairs(path) == [('"One, two"', "ཀ"), ("three", "ཁ"), ("four, five", "x")]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('"一"二\tཀ', True),  # closed in the middle of a cell
        ('一"二"\tཀ', True),  # a quote in a cell without quotes
        ('"一\tཀ', True),  # never closed
        ("一\tཀ", False),
    ],
)
def test_one_line_that_excel_would_not_write(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, line: str, said: bool
) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(by_excel([("一", "ཀ"), ('他说"好"', "ཁ")]) + f"{line}\r\n二\tང\r\n".encode())
    rows = pairs(path)
    assert len(rows) == 4 and (rows[1][0] == '"他说""好"""') == said
    assert ("line 4 is not" in caplog.text) == said
    assert not said or rows[2] == tuple(line.split("\t"))


def test_quoting_is_set_on_a_corpus(tmp_path: Path) -> None:
    doubled, comma = tmp_path / "t.tsv", tmp_path / "t.csv"
    doubled.write_text('zh\tbo\n"一""二"\tཀ\n', encoding="utf-8")
    comma.write_text('zh,bo\n"一""二",ཀ\n', encoding="utf-8")
    for path in (doubled, comma):
        assert pairs(path) == pairs(path, quoting="excel") == [('一"二', "ཀ")]
        assert pairs(path, quoting="none") == [('"一""二"', "ཀ")]
    doubled.write_text(ISSUE, encoding="utf-8")
    assert pairs(doubled, quoting="excel")[0] == ("一号\tཀ\n二号\tཁ\n三号", "ག")
    recipe = f"data:\n  class_path: CorpusDataModule\n  init_args:\n    train: {{path: {doubled}, quoting: %s}}\n"
    for quoting, rows in (("none", 4), ("excel", 2)):
        data = parse(tmp_path, recipe % quoting).datamodule
        data.setup("fit")
        assert data.prepared["train"][0].report["kept"] == rows
    for source, value, reason in (
        (doubled, "Excel", "quoting is 'Excel'; give one of none, excel"),
        (tmp_path / "t.jsonl", "excel", "quoting is excel, but only .csv and .tsv have quoting; leave it out"),
    ):
        source.touch()
        with pytest.raises(ValueError, match=reason):
            list(stream(str(source), IDENTITY, quoting=value))  # type: ignore[arg-type]


@pytest.mark.parametrize("quoting", ["none", "excel"])
def test_the_header_again_however_it_is_written(tmp_path: Path, quoting: str) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes("# zh\tbo\n一\tཀ\n\ufeff# zh\tbo\n# zh\tbo\nzh\tbo\n".encode())
    rows = [row for _, row in stream(str(path), IDENTITY, quoting=quoting)]  # type: ignore[arg-type]
    said = [row.message.split(": ")[1] for row in rows if isinstance(row, BadRow)]
    assert [isinstance(row, BadRow) for row in rows] == [False, True, True, False]
    assert said == ["the header again; drop this line"] * 2


def test_a_row_of_numbers_under_no_header_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,2\n")
    assert list(read(str(path), {"zh": "1", "bo": "2"}).values()) == [{"zh": "a", "bo": "b"}, {"zh": "1", "bo": "2"}]


@pytest.mark.parametrize(
    ("text", "rows", "said"),
    [
        ('zh,bo\n"一,ཀ\n二,ཁ\n三",ག\n四,ང\n', 2, True),  # two stray quotes: as CSV, one cell of three lines
        ('zh,bo\n"一\n二",ཀ\n三,ཁ\n', 2, False),
        ('zh,bo\n一"二,ཀ\n三"",ཁ\n"""四""",ག\n"",ང\n', 4, False),
    ],
)
def test_lines_that_a_quote_of_csv_joins_are_counted_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, rows: int, said: bool
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    counts = Counts()
    assert len(list(stream(str(path), IDENTITY, optional=("zh",), counts=counts))) == rows
    assert counts.lines == text.count("\n") and counts.continued == counts.lines - 1 - rows
    assert ("t.csv:2: a quote makes 3 lines one row" in caplog.text) == said
    caplog.clear()
    list(stream(str(path), IDENTITY, optional=("zh",), quoting="excel"))
    assert not caplog.text
    assert len(list(stream(str(path), IDENTITY, optional=("zh",), quoting="none"))) == text.count("\n") - 1
