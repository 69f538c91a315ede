"""CSV and TSV: cells under a header line, quoted as in CSV."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Collection, Iterator
from pathlib import Path

from semalign_pl.data.formats.account import Intake
from semalign_pl.data.formats.lines import not_utf8, raw_lines
from semalign_pl.data.formats.record import MAX_LINE, MAX_TEXT, BadRow, Item, NoRow, bad_row, one_line, quoted, shown


def separated(path: Path, delimiter: str, columns: Collection[str], intake: Intake) -> Iterator[Item]:
    """Cells under a header line; a record is numbered by the line it starts on.

    The first column may be without a name, and the header may start with ``# ``. Where all columns that are wanted are
    numbers which the first line does not name, there is no header, and columns are called 1, 2, … After a quote that is
    never closed, reading goes on with the next line.
    """
    csv.field_size_limit(MAX_TEXT)  # of the whole process; csv has no other
    source = _Lines(path, intake)
    header: list[str] | None = None
    for number, cells, span in _records(source, delimiter):
        if isinstance(cells, NoRow):
            yield Item(number, cells)
        elif header is None:
            if isinstance(cells, BadRow):
                raise ValueError(cells.message)
            if columns and all(name.isdecimal() and name not in cells for name in columns):
                header = [str(place) for place in range(1, len(cells) + 1)]
                yield Item(number, dict(zip(header, cells, strict=True)), span)
            else:
                header = _header(path, number, cells)
                yield Item(number, NoRow.HEADER, span)
        elif isinstance(cells, BadRow):
            yield Item(number, cells, span)
        elif len(cells) != len(header):
            tab = delimiter == "\t"
            fault = (
                f"{len(cells)} cells under a header of {len(header)}; put quotes around a cell with "
                f"{'a tab' if tab else 'a comma'}, a quote or a line break, or use .jsonl"
            )
            yield Item(number, bad_row(path, number, fault, source.raw()), span)
        elif cells == header:
            yield Item(number, bad_row(path, number, "the header again; drop this line", source.raw()), span)
        else:
            yield Item(number, dict(zip(header, cells, strict=True)), span)


def _header(path: Path, number: int, cells: list[str]) -> list[str]:
    header = [cells[0].removeprefix("# "), *cells[1:]]
    where = f"{shown(path)}:{number}: the header"
    if twice := sorted({name for name in header if header.count(name) > 1}):
        raise ValueError(f"{where} names {quoted(twice[0])} twice; rename one of them")
    if "" in header[1:]:
        raise ValueError(f"{where} has no name for column {header.index('', 1) + 1}; only the first may have none")
    return header


def _records(source: _Lines, delimiter: str) -> Iterator[tuple[int, list[str] | BadRow | NoRow, int]]:
    """Each record's line, its cells, and its number of lines."""
    while True:
        # `strict` reports a quote that is never closed.
        reader = csv.reader(source, delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                number, span = source.taken[0][0], len(source.taken)
                if source.undecoded:
                    yield number, not_utf8(source.path, number, *source.undecoded), span
                elif len(cells) > 1 or source.raw().strip():
                    yield number, cells, span
                else:
                    yield number, NoRow.BLANK, span
                source.clear()
            return
        except _Unreadable as stop:
            source.clear()
            yield stop.row.number, stop.row, 1
        except csv.Error as error:
            fault = (
                f"cannot be split into cells ({one_line(error)}); a quote that starts a cell must be closed, and "
                "doubled inside it, or use .jsonl"
            )
            number, line = source.only_first()
            yield number, bad_row(source.path, number, fault, line), 1


class _Unreadable(Exception):
    def __init__(self, row: BadRow) -> None:
        super().__init__(row.message)
        self.row = row


class _Lines:
    """Lines for `csv.reader`; those of the record being read are kept, so that one can go back to its second."""

    def __init__(self, path: Path, intake: Intake) -> None:
        self.path = path
        self.lines = raw_lines(path, intake)
        self.again: deque[tuple[int, bytes | BadRow]] = deque()
        self.clear()

    def clear(self) -> None:
        """Starts a record."""
        self.taken: list[tuple[int, bytes]] = []
        self.size = 0
        self.undecoded: tuple[bytes, UnicodeDecodeError] | None = None

    def raw(self) -> bytes:
        """The record as it stands in the file."""
        return b"".join(line for _, line in self.taken)

    def only_first(self) -> tuple[int, bytes]:
        """The record's first line; the others will be read again."""
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
