"""One unit of reading: a file, a pair of files, or a split of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from semalign_pl.data.formats.account import Counts, Intake, Reader, account
from semalign_pl.data.formats.record import Record


@dataclass(frozen=True)
class Part:
    """One unit of reading.

    Attributes:
        name: Prefix of its rows' ids.
        source: Name in messages.
        reader: Function that reads the columns that are wanted; all if none is, or one is missing.
        header: True if its first line names the columns.
        plain: True if its one column has whatever name is wanted.
        sparse: True if a row may lack a column that others have.
        files: Files whose content is read.
        revision: Function that returns whatever else decides the content, for the cache key.
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
        """Read its rows, and check that every line became a row, a blank line or a header.

        Args:
            columns: Columns that are wanted; none for every text of the source, that of a header line, too.
            counts: Filled while reading.
        """
        intake = Intake()
        return account(self.source, self.reader(columns, intake), intake, Counts() if counts is None else counts)
