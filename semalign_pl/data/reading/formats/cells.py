"""CSV and TSV files: rows of cells below a header line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from semalign_pl.data.reading.formats.account import LineCounter
from semalign_pl.data.reading.formats.lines import text_lines
from semalign_pl.data.reading.formats.quoted_cells import CellRecord, quoted_records
from semalign_pl.data.reading.formats.quoting import Quoting, tsv_quoting
from semalign_pl.data.reading.formats.record import (
    BadRow,
    Item,
    NoRow,
    bad_row,
    check_header,
    escape,
    is_headless,
    lacks_text,
    warn_once,
)


def delimited_rows(
    path: Path, delimiter: str, quoting: Quoting | None, columns: set[str], counter: LineCounter
) -> Iterator[Item]:
    """Yield the rows of a CSV or TSV file, each numbered by its first line.

    The first column may have no name, and the header may start with ``# ``. The file is read without a header, and its
    columns are called 1, 2, …, if every wanted column is a number that the first line does not contain, or if no column
    is wanted.

    Args:
        path: Path of the file.
        delimiter: Delimiter of cells, a comma or a tab.
        quoting: Quoting of cells. ``excel``: a quoted cell may contain delimiters, line breaks and doubled quotes.
            ``none``: quotes are text. If None, ``excel`` for CSV, and for TSV ``none`` unless the whole file shows
            otherwise.
        columns: Names of the wanted columns.
        counter: Number of lines read, updated while reading.

    Raises:
        ValueError: If the header cannot be read, or a column has no name or the same name as another.
    """
    doubtful = quoting is None and delimiter == ","
    if quoting is None:
        quoting = "excel" if delimiter == "," else tsv_quoting(path)
    records = quoted_records if quoting == "excel" else _plain_records
    header: list[str] | None = None
    written: list[str] = []  # the header as it is in the file, to recognise a repetition
    for number, cells, lines in records(path, delimiter, counter):
        row: Mapping[str, str] | BadRow | NoRow
        if isinstance(cells, NoRow):
            row = cells
        elif isinstance(cells, BadRow):
            if header is None:
                raise ValueError(cells.message)
            row = cells
        elif not any(map(str.strip, cells)):
            row = NoRow.BLANK  # Excel saves a blank row as delimiters alone
        elif header is None and is_headless(cells, columns):
            header = [str(place) for place in range(1, len(cells) + 1)]
            row = dict(zip(header, cells, strict=True))
        elif header is None:
            header, written, row = _header(path, number, cells), cells, NoRow.HEADER
        elif len(cells) != len(header):
            fault = f"{len(cells)} cells under a header of {len(header)}; {_remedy(delimiter, quoting)}, or use .jsonl"
            row = bad_row(path, number, fault, b"".join(lines))
        elif [cells[0].removeprefix("\ufeff"), *cells[1:]] == written:
            row = bad_row(path, number, "the header again; drop this line", b"".join(lines))
        else:
            row = dict(zip(header, cells, strict=True))
            if "" in cells and lacks_text(row, columns):
                row = NoRow.BLANK
            if doubtful and len(lines) > 1 and all(line.count(b",") == len(cells) - 1 for line in lines):
                doubtful = False  # once per file
                warn_once(
                    f"{escape(path)}:{number}: a quote makes {len(lines)} lines one row, though each has a row's cells"
                    "; set quoting: none if quotes are text, or quoting: excel to see this note no more"
                )
        yield Item(number, row, len(lines))


def _remedy(delimiter: str, quoting: Quoting) -> str:
    sign = "a tab" if delimiter == "\t" else "a comma"
    if quoting == "excel":
        return f"put quotes around a cell with {sign}, a quote or a line break"
    return f"take {sign} or a line break out of the text, or set quoting: excel if cells are in quotes"


def _header(path: Path, number: int, cells: list[str]) -> list[str]:
    header = [cells[0].removeprefix("# "), *cells[1:]]
    check_header(path, number, header)
    return header


def _plain_records(path: Path, delimiter: str, counter: LineCounter) -> Iterator[CellRecord]:
    """Yield one record per line; quotes are text."""
    for number, text in text_lines(path, counter):
        if isinstance(text, BadRow):
            yield CellRecord(number, text, [b""])
        elif delimiter in text or text.strip():
            yield CellRecord(number, text.split(delimiter), [text.encode()])
        else:
            yield CellRecord(number, NoRow.BLANK, [b""])
