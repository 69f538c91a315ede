"""Sheets of .xlsx files, read with openpyxl, with memory limits that openpyxl itself does not have."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semalign_pl.data.reading.formats.account import Intake
from semalign_pl.data.reading.formats.notes import warn_once
from semalign_pl.data.reading.formats.record import (
    BadRow,
    Item,
    NoRow,
    bad_row,
    check_header,
    is_headless,
    one_line,
    quoted,
    shown,
)

_FREE, _RATIO = 10_000_000, 100  # limits per part of the file, as in Apache POI: openpyxl keeps all strings in memory
_ROWS, _COLUMNS = 1_048_576, 1_000  # Excel's own limit of rows; no corpus has Excel's limit of 16,384 columns
_OLE = b"\xd0\xcf\x11\xe0"  # first bytes of an old .xls, or of an encrypted .xlsx
_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")  # ECMA-376 part 1, 22.9.2.19: escapes for what XML cannot contain


@dataclass(frozen=True)
class Formula:
    """Cell with a formula instead of text; a result in the file would be the one of Excel's last save.

    Attributes:
        text: Formula, or a description of the cell, for messages.
    """

    text: str

    def __repr__(self) -> str:
        return self.text


class ErrorValue(Formula):
    """Cell with the error that a formula resulted in, such as ``#N/A``."""


class MergedCell(Formula):
    """Empty cell that is part of a merged cell; the text is in the merged cell's first row."""


def spreadsheet(path: Path, sheet: str, columns: set[str], intake: Intake) -> Iterator[Item]:
    """Yield the rows of a sheet below its header, numbered as in the sheet, including hidden rows and columns.

    Text is kept. Numbers, dates, booleans, formulas, errors and cells merged with one above or to the left are not
    converted to text, so that they are refused in a wanted column: 2020-01-01, 1.10 and 007 depend on the cell's number
    format, which another program may not follow.

    Args:
        path: Path of an .xlsx file.
        sheet: Name of the sheet. If empty, the first sheet that is not hidden.
        columns: Names of the wanted columns. If it is empty, or all are numbers that the first row does not contain,
            the sheet is read without a header.
        intake: Number of the sheet's rows, counted in a separate pass without openpyxl.

    Raises:
        ValueError: If the file is damaged, encrypted or too large, its header is invalid, there is no such sheet, or
            openpyxl is not installed.
    """
    with path.open("rb") as file:
        if file.read(4) == _OLE:
            raise ValueError(
                f"{shown(path)}: encrypted with a password, or an old .xls; save it as .xlsx without a password: "
                f"libreoffice --headless --convert-to xlsx {shown(path)}"
            )
    try:
        import openpyxl
    except ModuleNotFoundError as error:
        raise ValueError(f"{shown(path)}: .xlsx needs openpyxl; pip install 'semalign-pl[excel]'") from error
    try:
        warnings.filterwarnings("ignore", module=r"openpyxl\.")  # about extensions, which contain no cells
        with zipfile.ZipFile(path) as archive:
            _check_parts(path, archive)
            book = openpyxl.load_workbook(path, read_only=True, keep_links=False)
            try:
                chosen = _sheet(path, book, sheet)
                last, merged = _survey(path, archive, chosen._worksheet_path)
                intake.lines = last
                chosen.reset_dimensions()  # a file may state dimensions of any size
                yield from _items(path, chosen.iter_rows(), merged, columns)
            finally:
                book.close()
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) or not str(error).startswith(shown(path)):
            raise _damaged(path, error) from error
        raise
    except Exception as error:  # of any type, as openpyxl hardly checks its input
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{shown(path)}: cannot be read as a spreadsheet ({one_line(error)}); save it again, or as .csv")


def _check_parts(path: Path, archive: zipfile.ZipFile) -> None:
    """Check that the file is no zip or XML bomb: no part decompresses to too much, and none declares entities."""
    for info in archive.infolist():
        # The stated size is a safe bound: `zipfile` never returns more bytes than that.
        if info.file_size > max(_FREE, _RATIO * info.compress_size):
            raise ValueError(
                f"{shown(path)}: {shown(info.filename)} decompresses to {info.file_size:,} bytes, more than {_RATIO} "
                f"times its size (beyond the first {_FREE // 10**6} MB); if it is right, save it as .csv"
            )
        if info.filename.lower().endswith((".xml", ".rels")):
            with archive.open(info) as part:
                _check_doctype(path, info.filename, part)


def _check_doctype(path: Path, name: str, part: Any) -> None:
    from lxml import etree  # type: ignore[reportAttributeAccessIssue]

    for _, root in etree.iterparse(part, ("start",), resolve_entities=False, load_dtd=False, no_network=True):
        if root.getroottree().docinfo.internalDTD is not None:
            raise ValueError(f"{shown(path)}: {shown(name)} declares entities, as no spreadsheet does; save it again")
        return


def _sheet(path: Path, book: Any, name: str) -> Any:
    visible = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
    named = [sheet for sheet in book.worksheets if sheet.title == name] if name else visible
    if not named:
        there = shown(", ".join(repr(sheet.title) for sheet in book.worksheets), 300)
        raise ValueError(f"{shown(path)}: no sheet {name!r}; its sheets are {there}")
    if not name and len(named) > 1:
        others = shown(", ".join(sheet.title for sheet in named[1:]), 200)
        warn_once(
            f"{shown(path)}: the sheet {named[0].title!r} is read, and not {others}; name a sheet, as in "
            f"{shown(path)}#{shown(named[1].title)}"
        )
    return named[0]


def _survey(path: Path, archive: zipfile.ZipFile, name: str) -> tuple[int, list[tuple[int, int, int, int]]]:
    """Return the number of a sheet's last row, and its merged cells in the order of their first rows.

    A merged cell is ``(first column, first row, last column, last row)``.
    """
    from lxml import etree  # type: ignore[reportAttributeAccessIssue]
    from openpyxl.utils import range_boundaries

    last, merged = 0, []
    with archive.open(name) as part:
        options = {"resolve_entities": False, "load_dtd": False, "no_network": True}
        for _, node in etree.iterparse(part, tag=("{*}row", "{*}mergeCell"), **options):
            if node.tag.endswith("mergeCell"):
                merged.append(range_boundaries(node.get("ref")))
            else:
                number = int(node.get("r", last + 1))
                if not last < number <= _ROWS:
                    raise ValueError(f"{shown(path)}: row {number:,} follows row {last:,}; save it again")
                last = number
            node.clear()
            while node.getprevious() is not None:  # free the rows already read
                del node.getparent()[0]
    return last, sorted(merged, key=lambda range_: range_[1])


def _items(path: Path, rows: Any, merged: list[Any], columns: set[str]) -> Iterator[Item]:
    header: list[str] | None = None
    begun: list[Any] = []  # merged cells that include this row
    for number, row in enumerate(rows, 1):
        while merged and merged[0][1] <= number:
            begun.append(merged.pop(0))
        begun = [range_ for range_ in begun if range_[3] >= number]
        if len(row) > _COLUMNS:
            raise ValueError(f"{shown(path)}:{number}: {len(row):,} columns, more than {_COLUMNS:,}; delete the others")
        cells = [_value(cell) for cell in row]
        while cells and (cells[-1] is None or cells[-1] == ""):
            cells.pop()
        if not any(not isinstance(cell, str) or cell.strip() for cell in cells if cell is not None):
            yield Item(number, NoRow.BLANK)
        elif header is None and is_headless(cells, columns):
            header = [str(place) for place in range(1, len(cells) + 1)]
            yield Item(number, _record(path, number, cells, header, begun))
        elif header is None:
            header = _header(path, number, cells)
            yield Item(number, NoRow.HEADER)
        else:
            yield Item(number, _record(path, number, cells, header, begun))


def _value(cell: Any) -> Any:
    """Value of a cell; a `Formula` or `ErrorValue` if it contains one."""
    value, kind = cell.value, getattr(cell, "data_type", "n")
    if kind == "f":
        return Formula(str(getattr(value, "text", None) or value))
    if kind == "e":
        return ErrorValue(str(value))
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), value) if isinstance(value, str) else value


def _header(path: Path, number: int, cells: list[Any]) -> list[str]:
    names = ["" if cell is None else cell for cell in cells]
    if other := [name for name in names if not isinstance(name, str)]:
        raise ValueError(
            f"{shown(path)}:{number}: the header holds {quoted(other[0])} ({type(other[0]).__name__}); write names of "
            "columns as text"
        )
    check_header(path, number, names)
    return names


def _record(path: Path, number: int, cells: list[Any], header: list[str], merged: list[Any]) -> dict[str, Any] | BadRow:
    if any(cell is not None for cell in cells[len(header) :]):
        fault = f"{len(cells)} cells under a header of {len(header)}; name the column in the header, or empty the cell"
        return bad_row(path, number, fault, repr(cells))
    cells = [*cells, *[None] * (len(header) - len(cells))]
    values = [_merged(place, merged) if cell is None else cell for place, cell in enumerate(cells, 1)]
    return dict(zip(header, values, strict=True))


def _merged(column: int, merged: list[Any]) -> MergedCell | str:
    """Value of an empty cell: a `MergedCell` if it is part of a merged cell, or else an empty text."""
    inside = any(first <= column <= last for first, _, last, _ in merged)
    return MergedCell("part of a merged cell") if inside else ""
