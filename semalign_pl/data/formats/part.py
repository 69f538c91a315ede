"""What is read in one go: a file, a pair of files, a split of a dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from semalign_pl.data.formats.account import Counts, Intake, Reader, account
from semalign_pl.data.formats.record import Record


@dataclass(frozen=True)
class Part:
    """What is read in one go.

    Attributes:
        name: Of its rows' ids.
        source: In messages.
        reader: Reads the columns that are wanted; all where none is, or one that it does not have.
        header: Its first line names the columns.
        plain: Its one column has whatever name is wanted.
        sparse: A row may lack a column that others have.
        files: Whose content is read.
        revision: What else decides on the content.
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
