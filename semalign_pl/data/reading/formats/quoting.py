"""Quoting of a TSV file: none, according to its standard, or Excel's if the whole file shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from semalign_pl.data.reading.formats.account import LineCounter
from semalign_pl.data.reading.formats.encodings import open_utf8
from semalign_pl.data.reading.formats.lines import read_head
from semalign_pl.data.reading.formats.quoted_cells import CellRecord, quoted_records
from semalign_pl.data.reading.formats.record import BadRow, NoRow, escape, warn_once

Quoting = Literal["none", "excel"]

_CHUNK = 1 << 20
_NUMBER = re.compile(r"[-+]?[\d.,]*([eE][-+]?\d+)?")


def tsv_quoting(path: Path) -> Quoting:
    r"""Detect the quoting of a TSV file from its whole content.

    Tab-separated values have no quoting (IANA, text/tab-separated-values): a quote is text, and each line is a row. But
    Excel, LibreOffice and ``pandas.to_csv(sep="\t")`` put quotes around a cell with a quote, a tab or a line break, and
    double the quotes inside it. Excel also quotes a cell with a comma. The quoting of a file is ``excel`` if every cell
    with a quote is written in this way, and

    - a quoted cell contains a doubled quote, a tab or a line break, or
    - all cells except numbers are quoted, or
    - the quoted cells are exactly those with a comma.

    Two stray quotes, the first at the start of a cell and the second at the end of another, look like one cell with
    line breaks. Splitting the lines at tabs distinguishes the two cases: if a cell really contains tabs or line breaks,
    its lines have another number of cells than the header.

    Args:
        path: Path of the file.
    """
    if not _has_quotes(path):
        return "none"
    evidence = _Evidence()
    for record in quoted_records(path, "\t", LineCounter()):
        evidence.add(record)
    where = escape(path)
    if evidence.signs and evidence.broken:
        warn_once(
            f"{where}: some cells are quoted as Excel does it, but line {evidence.broken} is not, so that no cell is "
            "read as quoted; mend the line, or set quoting: excel (or quoting: none, to see this note no more)"
        )
    every = evidence.quoted and not evidence.bare
    some = evidence.signs or (evidence.commas and not evidence.loose)
    if evidence.broken or not (every or (some and evidence.signs >= evidence.doubts)):
        return "none"
    warn_once(
        f"{where}: cells are quoted as Excel does it and read without these quotes; set quoting: none to keep them"
    )
    return "excel"


class _Evidence:
    """Evidence in a file's records for and against Excel's quoting.

    Attributes:
        width: Number of cells of the first record.
        broken: Number of the first line that Excel would not write; 0 if there is none.
        signs: Number of cells or records that only Excel's quoting can explain.
        doubts: Number of records with tabs or line breaks in a cell that may be whole lines between two stray quotes.
        quoted: Number of quoted cells.
        bare: Number of unquoted cells other than numbers.
        commas: Number of quoted cells with a comma.
        loose: Number of unquoted cells with a comma and of quoted cells without one.
    """

    def __init__(self) -> None:
        self.width = self.broken = self.signs = self.doubts = self.quoted = self.bare = self.commas = self.loose = 0

    def add(self, record: CellRecord) -> None:
        number, cells, lines = record
        if isinstance(cells, NoRow):
            return
        raw = b"".join(lines)
        if isinstance(cells, BadRow):
            if b'"' in raw:
                self.broken = self.broken or number
            return
        self.width = self.width or len(cells)
        pieces = raw.decode(errors="replace").rstrip("\r\n").split("\t")
        if len(lines) == 1 and len(pieces) == len(cells):
            for piece, cell in zip(pieces, cells, strict=True):
                self._cell(number, piece, cell)
            return
        # A tab or line break between quotes: one quoted cell, or whole lines between two stray quotes?
        whole = sum(line.count(b"\t") == self.width - 1 for line in lines)
        if len(cells) == self.width and 2 * whole <= len(lines):
            self.signs += 1
        else:
            self.doubts += 1

    def _cell(self, number: int, piece: str, cell: str) -> None:
        if piece.startswith('"'):
            self.quoted += 1
            self.signs += '"' in cell or "\r" in cell
            self.commas += "," in cell
            self.loose += "," not in cell
        else:
            self.bare += not _NUMBER.fullmatch(cell)
            self.loose += "," in cell
            if '"' in cell:
                self.broken = self.broken or number


def _has_quotes(path: Path) -> bool:
    with open_utf8(path) as file:
        read_head(path, file)
        return any(b'"' in chunk for chunk in iter(lambda: file.read(_CHUNK), b""))
