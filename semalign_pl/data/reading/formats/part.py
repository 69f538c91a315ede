"""Part of a source, the unit of reading: a file, a pair of files, or a split of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from semalign_pl.data.reading.formats.account import Counts, Intake, Reader, account
from semalign_pl.data.reading.formats.record import Record


@dataclass(frozen=True)
class Part:
    """Part of a source: a file, a pair of files, or a split of a dataset.

    Attributes:
        name: Prefix of the ids of its rows.
        source: Name in messages.
        reader: Function that reads the wanted columns; it reads all columns if none is wanted or one is missing.
        header: True if the first line names the columns.
        plain: True for plain text: its only column gets the name of the wanted column.
        sparse: True if a row may lack a column that other rows have.
        files: Paths of the files whose content is read.
        revision: Function that returns a text for the cache key: everything else that the content depends on.
    """

    name: str
    source: str
    reader: Reader
    header: bool = False
    plain: bool = False
    sparse: bool = False
    files: tuple[Path, ...] = ()
    revision: Callable[[], str] = str

    def read(self, columns: set[str], counts: Counts | None = None) -> Iterator[Record]:
        """Read the rows, and check that every line became a row, a blank line or a header.

        Args:
            columns: Names of the wanted columns; empty for all text of the source, including that of a header line.
            counts: Line counts, filled while reading.

        Raises:
            ValueError: If the source cannot be read, or the reader lost a line.
        """
        intake = Intake()
        return account(self.source, self.reader(columns, intake), intake, Counts() if counts is None else counts)
