"""Line accounting: every line of a source is counted as a good row, bad row, blank line or header, and none is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from semalign_pl.data.reading.formats.record import Item, NoRow, Record, escape


@dataclass
class LineCounter:
    """Number of lines read by the lowest layer of a reader; the layers above are checked against it.

    Attributes:
        lines: Number of lines of a text file read so far; for other formats the number of table rows, ``<tu>``
            elements, array elements or SQuAD questions.
    """

    lines: int = 0


@dataclass
class Counts:
    """Number of a source's lines per kind: ``lines = good + bad + skipped + blank + header + continued``.

    Attributes:
        lines: Number of lines read. If rows are not lines of text (Parquet, TMX, JSON arrays), each row counts as one.
        blank: Number of blank lines.
        header: Number of lines that name the columns.
        continued: Number of lines after the first of a row, for rows with a line break in a quoted cell.
        good: Number of usable rows.
        bad: Number of unusable rows.
        skipped: Number of rows that `where` excludes.
    """

    lines: int = 0
    blank: int = 0
    header: int = 0
    continued: int = 0
    good: int = 0
    bad: int = 0
    skipped: int = 0

    def add(self, item: Item) -> None:
        """Count the lines of an item, but not its row: the caller may still refuse or skip it."""
        self.lines += item.span
        if item.row is NoRow.HEADER:
            self.header += item.span
        elif item.row is NoRow.BLANK:
            self.blank += item.span
        else:
            self.continued += item.span - 1


Reader = Callable[[set[str], LineCounter], Iterator[Item]]
"""Function that yields items from the wanted columns (empty for all) and a line count.

Each line of the source is part of exactly one item, in order.
"""


def account(source: str, items: Iterable[Item], counter: LineCounter, counts: Counts) -> Iterator[Record]:
    """Yield the rows among a reader's items, and check that no line is lost.

    Args:
        source: Name of the source file, for messages.
        items: Items of a reader. Each must start on the line after the previous item.
        counter: Number of lines that the reader was given.
        counts: Line counts, filled while reading; the caller counts good, bad and skipped rows.

    Raises:
        ValueError: If lines were lost or read twice, which is a fault of the reader.
    """
    covered = 0
    for item in items:
        if item.number != covered + 1:
            raise _balance_error(source, f"row {item.number:,} follows line {covered:,}")
        covered += item.span
        counts.add(item)
        if not isinstance(item.row, NoRow):
            yield item.number, item.row
    if covered != counter.lines:
        raise _balance_error(source, f"{counter.lines:,} lines were read, but {covered:,} became rows or blank lines")


def _balance_error(source: str, fault: str) -> ValueError:
    return ValueError(f"{escape(source)}: {fault}; this is a fault of the reader: report it, and convert it to .jsonl")
