"""Sheets of .xlsx files, read with openpyxl, with memory limits that openpyxl itself does not have."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, cast

from semalign_pl.data.reading.formats.account import LineCounter
from semalign_pl.data.reading.formats.record import (
    BadRow,
    Item,
    NoRow,
    bad_row,
    check_header,
    error_line,
    escape,
    is_headless,
    lacks_text,
    quote,
    warn_once,
)

if TYPE_CHECKING:
    from openpyxl.workbook import Workbook

_Range = tuple[int, int, int, int]
"""Merged cell: first column, first row, last column, last row."""
_FREE, _RATIO = 10_000_000, 100  # limits per archived file, as in Apache POI: openpyxl keeps all strings in memory
_ROWS, _COLUMNS = 1_048_576, 1_000  # Excel's own limit of rows; no corpus has Excel's limit of 16,384 columns
_OLE = b"\xd0\xcf\x11\xe0"  # first bytes of an old .xls, or of an encrypted .xlsx
_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")  # ECMA-376 part 1, 22.9.2.19: escapes for what XML cannot contain


class _Cell(Protocol):
    """Cell of openpyxl, read-only or empty."""

    @property
    def value(self) -> object: ...


class _Sheet(Protocol):
    """Read-only sheet of openpyxl, with the path that the published types of openpyxl lack."""

    title: str
    sheet_state: str
    _worksheet_path: str

    def reset_dimensions(self) -> None: ...
    def iter_rows(self) -> Iterable[Sequence[_Cell]]: ...


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


def spreadsheet(path: Path, sheet: str, columns: set[str], counter: LineCounter) -> Iterator[Item]:
    """Yield the rows of a sheet below its header, numbered as in the sheet, including hidden rows and columns.

    Text is kept. Numbers, dates, booleans, formulas, errors and cells merged with one above or to the left are not
    converted to text, so that they are refused in a wanted column: 2020-01-01, 1.10 and 007 depend on the cell's number
    format, which another program may not follow.

    Args:
        path: Path of an .xlsx file.
        sheet: Name of the sheet. If empty, the first sheet that is not hidden.
        columns: Names of the wanted columns. If it is empty, or all are numbers that the first row does not contain,
            the sheet is read without a header.
        counter: Number of the sheet's rows, counted in a separate pass without openpyxl.

    Raises:
        ValueError: If the file is damaged, encrypted or too large, its header is invalid, there is no such sheet, or
            openpyxl is not installed.
    """
    with path.open("rb") as file:
        if file.read(4) == _OLE:
            raise ValueError(
                f"{escape(path)}: encrypted with a password, or an old .xls; save it as .xlsx without a password: "
                f"libreoffice --headless --convert-to xlsx {escape(path)}"
            )
    try:
        import openpyxl
    except ModuleNotFoundError as error:
        raise ValueError(f"{escape(path)}: .xlsx needs openpyxl; pip install 'semalign-pl[excel]'") from error
    try:
        warnings.filterwarnings("ignore", module=r"openpyxl\.")  # about extensions, which contain no cells
        with zipfile.ZipFile(path) as archive:
            _check_archive(path, archive)
            book = openpyxl.load_workbook(path, read_only=True, keep_links=False)
            try:
                chosen = _sheet(path, book, sheet)
                last, merged = _survey(path, archive, chosen._worksheet_path)
                counter.lines = last
                chosen.reset_dimensions()  # a file may state dimensions of any size
                yield from _items(path, chosen.iter_rows(), merged, columns)
            finally:
                book.close()
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) or not str(error).startswith(escape(path)):
            raise _damage_error(path, error) from error
        raise
    except Exception as error:  # of any type, as openpyxl hardly checks its input
        raise _damage_error(path, error) from error


def _damage_error(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{escape(path)}: cannot be read as a spreadsheet ({error_line(error)}); save it again, or as .csv"
    )


def _check_archive(path: Path, archive: zipfile.ZipFile) -> None:
    """Check that the file is no zip or XML bomb: no file in it decompresses to too much or declares entities."""
    for info in archive.infolist():
        # The stated size is a safe bound: `zipfile` never returns more bytes than that.
        if info.file_size > max(_FREE, _RATIO * info.compress_size):
            raise ValueError(
                f"{escape(path)}: {escape(info.filename)} decompresses to {info.file_size:,} bytes, more than {_RATIO} "
                f"times its size (beyond the first {_FREE // 10**6} MB); if it is right, save it as .csv"
            )
        if info.filename.lower().endswith((".xml", ".rels")):
            with archive.open(info) as file:
                _check_doctype(path, info.filename, file)


def _check_doctype(path: Path, name: str, file: IO[bytes]) -> None:
    from lxml import etree  # type: ignore[reportAttributeAccessIssue]

    for _, root in etree.iterparse(file, ("start",), resolve_entities=False, load_dtd=False, no_network=True):
        if root.getroottree().docinfo.internalDTD is not None:
            raise ValueError(f"{escape(path)}: {escape(name)} declares entities, as no spreadsheet does; save it again")
        return


def _sheet(path: Path, book: Workbook, name: str) -> _Sheet:
    sheets = cast(list[_Sheet], book.worksheets)
    visible = [sheet for sheet in sheets if sheet.sheet_state == "visible"]
    named = [sheet for sheet in sheets if sheet.title == name] if name else visible
    if not named:
        titles = escape(", ".join(repr(sheet.title) for sheet in sheets), 300)
        raise ValueError(f"{escape(path)}: no sheet {name!r}; its sheets are {titles}")
    if not name and len(named) > 1:
        others = escape(", ".join(sheet.title for sheet in named[1:]), 200)
        warn_once(
            f"{escape(path)}: the sheet {named[0].title!r} is read, and not {others}; name a sheet, as in "
            f"{escape(path)}#{escape(named[1].title)}"
        )
    return named[0]


def _survey(path: Path, archive: zipfile.ZipFile, name: str) -> tuple[int, list[_Range]]:
    """Return the number of a sheet's last row, and its merged cells in the order of their first rows."""
    from lxml import etree  # type: ignore[reportAttributeAccessIssue]
    from openpyxl.utils import range_boundaries

    last, merged = 0, []
    with archive.open(name) as file:
        options = {"resolve_entities": False, "load_dtd": False, "no_network": True}
        for _, node in etree.iterparse(file, tag=("{*}row", "{*}mergeCell"), **options):
            if node.tag.endswith("mergeCell"):
                merged.append(range_boundaries(node.get("ref")))
            else:
                number = int(node.get("r", last + 1))
                if not last < number <= _ROWS:
                    raise ValueError(f"{escape(path)}: row {number:,} follows row {last:,}; save it again")
                last = number
            node.clear()
            while node.getprevious() is not None:  # free the rows already read
                del node.getparent()[0]
    return last, sorted(merged, key=lambda range_: range_[1])


def _items(path: Path, rows: Iterable[Sequence[_Cell]], merged: list[_Range], columns: set[str]) -> Iterator[Item]:
    header: list[str] | None = None
    begun_ranges: list[_Range] = []  # merged cells that include this row
    for number, row in enumerate(rows, 1):
        while merged and merged[0][1] <= number:
            begun_ranges.append(merged.pop(0))
        begun_ranges = [range_ for range_ in begun_ranges if range_[3] >= number]
        if len(row) > _COLUMNS:
            raise ValueError(
                f"{escape(path)}:{number}: {len(row):,} columns, more than {_COLUMNS:,}; delete the others"
            )
        cells = [_value(cell) for cell in row]
        while cells and (cells[-1] is None or cells[-1] == ""):
            cells.pop()
        if not any(not isinstance(cell, str) or cell.strip() for cell in cells if cell is not None):
            yield Item(number, NoRow.BLANK)
        elif header is None and is_headless(cells, columns):
            header = [str(place) for place in range(1, len(cells) + 1)]
            yield Item(number, _record(path, number, cells, header, begun_ranges))
        elif header is None:
            header = _header(path, number, cells)
            yield Item(number, NoRow.HEADER)
        else:
            record = _record(path, number, cells, header, begun_ranges)
            blank = not isinstance(record, BadRow) and lacks_text(record, columns)
            yield Item(number, NoRow.BLANK if blank else record)


def _value(cell: _Cell) -> object:
    """Value of a cell; a `Formula` or `ErrorValue` if it contains one."""
    value, kind = cell.value, getattr(cell, "data_type", "n")
    if kind == "f":
        return Formula(str(getattr(value, "text", None) or value))
    if kind == "e":
        return ErrorValue(str(value))
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), value) if isinstance(value, str) else value


def _header(path: Path, number: int, cells: Sequence[object]) -> list[str]:
    cells = ["" if cell is None else cell for cell in cells]
    if other := [cell for cell in cells if not isinstance(cell, str)]:
        raise ValueError(
            f"{escape(path)}:{number}: the header holds {quote(other[0])} ({type(other[0]).__name__}); write names of "
            "columns as text, or, if the sheet has no header, name columns by their numbers, such as 2"
        )
    names = [cell for cell in cells if isinstance(cell, str)]
    check_header(path, number, names)
    return names


def _record(
    path: Path, number: int, cells: Sequence[object], header: list[str], merged: list[_Range]
) -> dict[str, object] | BadRow:
    if any(cell is not None for cell in cells[len(header) :]):
        fault = f"{len(cells)} cells under a header of {len(header)}; name the column in the header, or empty the cell"
        title = "; if the header is a title, delete its row" if len(header) == 1 else ""
        return bad_row(path, number, fault + title, repr(cells))
    cells = [*cells, *[None] * (len(header) - len(cells))]
    values = [_fill_empty_cell(place, merged) if cell is None else cell for place, cell in enumerate(cells, 1)]
    return dict(zip(header, values, strict=True))


def _fill_empty_cell(column: int, merged: list[_Range]) -> MergedCell | str:
    """Value of an empty cell: a `MergedCell` if it is part of a merged cell, or else an empty text."""
    inside = any(first <= column <= last for first, _, last, _ in merged)
    return MergedCell("part of a merged cell") if inside else ""
