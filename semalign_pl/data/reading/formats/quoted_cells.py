"""Records with quoted cells, as Excel, pandas and the csv module write them: a quoted cell may span lines."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from semalign_pl.data.reading.formats.account import LineCounter
from semalign_pl.data.reading.formats.lines import not_utf8, raw_lines
from semalign_pl.data.reading.formats.record import MAX_LINE, MAX_TEXT, BadRow, NoRow, bad_row, error_line


class CellRecord(NamedTuple):
    """Record split into cells.

    Attributes:
        number: Number of the record's first line.
        cells: Cells of the record, a bad row, or the kind of a line that is not a row.
        lines: Lines of the record, as bytes of the file.
    """

    number: int
    cells: list[str] | BadRow | NoRow
    lines: list[bytes]


def quoted_records(path: Path, delimiter: str, counter: LineCounter) -> Iterator[CellRecord]:
    """Yield the records of a file with quoted cells.

    A line with a quote that is never closed is a bad row. Reading continues with the next line.

    Args:
        path: Path of the file.
        delimiter: Delimiter of cells, a comma or a tab.
        counter: Number of lines read, updated while reading.
    """
    csv.field_size_limit(MAX_TEXT)  # the csv module has one limit per process
    source = _Lines(path, counter)
    while True:
        # With `strict`, a quote that is never closed is an error.
        reader = csv.reader(source, delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                number, lines = source.taken[0][0], [line for _, line in source.taken]
                if source.undecoded:
                    yield CellRecord(number, not_utf8(path, number, *source.undecoded), lines)
                elif len(cells) > 1 or b"".join(lines).strip():
                    yield CellRecord(number, cells, lines)
                else:
                    yield CellRecord(number, NoRow.BLANK, lines)
                source.clear()
            return
        except _Unreadable as stop:
            source.clear()
            yield CellRecord(stop.row.number, stop.row, [b""])
        except csv.Error as error:
            fault = (
                f"cannot be split into cells ({error_line(error)}); a quote that starts a cell must be closed, and "
                "doubled inside it; set quoting: none if quotes are text, or use .jsonl"
            )
            number, line = source.only_first()
            yield CellRecord(number, bad_row(path, number, fault, line), [line])


class _Unreadable(Exception):
    def __init__(self, row: BadRow) -> None:
        super().__init__(row.message)
        self.row = row


class _Lines:
    """Iterator of lines for `csv.reader`; it keeps a record's lines, to read them again after a fault in the first."""

    def __init__(self, path: Path, counter: LineCounter) -> None:
        self.lines = raw_lines(path, counter)
        self.again: deque[tuple[int, bytes | BadRow]] = deque()
        self.clear()

    def clear(self) -> None:
        """Start a new record."""
        self.taken: list[tuple[int, bytes]] = []
        self.size = 0
        self.undecoded: tuple[bytes, UnicodeDecodeError] | None = None

    def only_first(self) -> tuple[int, bytes]:
        """Give up the record: return its first line with its number, and read the other lines again."""
        first, *rest = self.taken
        self.again.extendleft(reversed(rest))
        self.clear()
        return first

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, line = self.again.popleft() if self.again else next(self.lines)
        if isinstance(line, BadRow):
            if not self.taken:
                raise _Unreadable(line)
            self.again.appendleft((number, line))
            raise csv.Error("a quote is open before a line that cannot be read")
        self.taken.append((number, line))
        self.size += len(line)
        if self.size > MAX_LINE:
            raise csv.Error("a quote is not closed for too long")
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            self.undecoded = self.undecoded or (line, error)
            return line.decode(errors="replace")
