"""Every line of a source becomes a good row, a bad row, a blank line or a header: counted, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from semalign_pl.data.formats.record import Item, NoRow, Record, shown


@dataclass
class Intake:
    """Count of lines in the lowest layer of a reader, so that the layers above can be checked against it.

    Attributes:
        lines: Lines of a text file handed out so far; for other formats rows of a table, ``<tu>`` elements, or
            elements of an array.
    """

    lines: int = 0


@dataclass
class Counts:
    """Numbers of a source's lines by kind: ``lines = good + bad + skipped + blank + header + continued``.

    Attributes:
        lines: Lines read; where a row is not a line of text (Parquet, TMX, JSON arrays), each row counts as one.
        blank: Blank lines.
        header: Lines that name the columns.
        continued: Further lines of rows with a line break in a quoted cell.
        good: Rows that can be used.
        bad: Rows that cannot.
        skipped: Rows that `where` leaves out.
    """

    lines: int = 0
    blank: int = 0
    header: int = 0
    continued: int = 0
    good: int = 0
    bad: int = 0
    skipped: int = 0

    def add(self, item: Item) -> None:
        """Count an item's lines, but not yet its row, which the caller may refuse or skip."""
        self.lines += item.span
        if item.row is NoRow.HEADER:
            self.header += item.span
        elif item.row is NoRow.BLANK:
            self.blank += item.span
        else:
            self.continued += item.span - 1


Reader = Callable[[set[str], Intake], Iterator[Item]]
"""Function that reads the columns that are wanted, or all; each line is part of one item, in order."""


def account(source: str, items: Iterable[Item], intake: Intake, counts: Counts) -> Iterator[Record]:
    """Yield the rows among a reader's items, and check that no line is lost.

    Args:
        source: File that is read, for messages.
        items: Items of a reader; each must start on the line after the one before it.
        intake: Count of the lines that the reader was given.
        counts: Filled while reading, except for the rows by their kind.

    Raises:
        ValueError: Lines were lost, or read twice; a fault of the reader.
    """
    covered = 0
    for item in items:
        if item.number != covered + 1:
            raise _unbalanced(source, f"row {item.number:,} follows line {covered:,}")
        covered += item.span
        counts.add(item)
        if not isinstance(item.row, NoRow):
            yield item.number, item.row
    if covered != intake.lines:
        raise _unbalanced(source, f"{intake.lines:,} lines were read, but {covered:,} became rows or blank lines")


def _unbalanced(source: str, fault: str) -> ValueError:
    return ValueError(f"{shown(source)}: {fault}; this is a fault of the reader: report it, and convert it to .jsonl")
