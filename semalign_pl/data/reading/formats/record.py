"""Good and bad rows as readers yield them, and helpers for messages and column names."""

from __future__ import annotations

import functools
import logging
import reprlib
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from semalign_pl.messages.error_text import single_line

log = logging.getLogger(__name__)

MAX_TEXT = 1_000_000
"""Maximum number of characters of a field; a longer one means that a line break was lost."""
MAX_LINE = 8 * MAX_TEXT
"""Maximum number of bytes of a line."""


@dataclass(frozen=True)
class BadRow:
    """Row that cannot be read.

    Attributes:
        number: Number of the row, as in `Record`.
        message: Message of one line with place, fault and remedy.
        raw: Beginning of the row's text.
    """

    number: int
    message: str
    raw: str


Record = tuple[int, Mapping[str, object] | BadRow]
"""Number of a row and its content.

The number is that of the row's first line in a text file, or else its 1-based index. The content is a mapping from
column to value, or a bad row.
"""


class NoRow(Enum):
    """Kind of a line that is not a row."""

    BLANK = "blank"
    HEADER = "header"


class Item(NamedTuple):
    """Result of reading one line, or all lines of one row.

    Attributes:
        number: Number of the first line, as in `Record`.
        row: Mapping from column to value, a bad row, or the kind of a line that is not a row.
        span: Number of lines.
    """

    number: int
    row: Mapping[str, object] | BadRow | NoRow
    span: int = 1


def bad_row(source: object, number: int, fault: str, raw: str | bytes) -> BadRow:
    """Create a bad row.

    Args:
        source: Name of the source, for the message.
        number: Number of the row, as in `Record`.
        fault: Fault of the row, followed by its remedy.
        raw: Text of the row, of which the first 200 characters are kept.
    """
    text = raw[:800].decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw[:200]
    return BadRow(
        number,
        f"{escape(source)}:{number}: {fault}",
        text.rstrip("\r\n").encode("utf-8", "backslashreplace").decode()[:200],
    )


def escape(text: object, limit: int | None = None) -> str:
    """Format text for a message: one line, unprintable characters escaped, cut to ``limit`` characters."""
    text = str(text)
    if limit is not None and len(text) > limit:
        text = f"{text[:limit]}…"
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def quote(value: object) -> str:
    """Python's ``repr`` of the beginning of a value, about 60 characters."""
    return repr(value[:60]) if isinstance(value, str) else reprlib.repr(value)[:60]


def error_line(error: Exception) -> str:
    """Message of an error on one line, or the error's type if it has none."""
    return escape(single_line(error), 300)


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning only once per process, as a corpus is read several times."""
    log.warning(message)


COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")


def top_column(columns: Container[str], column: str) -> str | None:
    """Return the file's column that a name or path begins with, or ``None``.

    A column with dots in its name takes precedence over a path: ``a.b`` is the column ``a.b`` if there is one, or else
    the value at ``b`` inside the column ``a``.

    Args:
        columns: Columns of the file, or a record with these columns.
        column: Name or path of a column, such as ``translation.bo``.
    """
    while column not in columns:
        column, dot, _ = column.rpartition(".")
        if not dot:
            return None
    return column


def wanted_columns(names: Sequence[str], columns: Iterable[str]) -> list[str]:
    """Return the file's columns that the wanted names or paths begin with.

    If one is missing, all columns are returned, so that an error can name it.

    Args:
        names: Names of the file's columns.
        columns: Names or paths of the wanted columns; empty for all columns.
    """
    tops = {top_column(names, column) for column in columns}
    return [name for name in names if not tops or None in tops or name in tops]


def lacks_text(record: Mapping[str, object], columns: Iterable[str]) -> bool:
    """Return true if a table's row has nothing in the wanted columns, and no letter in the others.

    Such rows follow the data of many spreadsheets: the cells were formatted or numbered in advance.

    Args:
        record: Cells of the row by column; an empty cell is None or blank text.
        columns: Names of the wanted columns; all columns count as wanted if there is none, or if one is missing.
    """
    wanted = {top_column(record, column) for column in columns}
    if not wanted or None in wanted:
        wanted = set(record)
    return all(
        value is None or (isinstance(value, str) and not value.strip())
        if name in wanted
        else not (isinstance(value, str) and any(map(str.isalpha, value)))
        for name, value in record.items()
    )


def is_headless(cells: Sequence[object], columns: Iterable[str]) -> bool:
    """Return true if a table's first row is data, not a header.

    It is data if every wanted column is a number that the row does not contain, or if no column is wanted.

    Args:
        cells: Cells of the first row.
        columns: Names of the wanted columns.
    """
    return all(name.isdecimal() and name not in cells for name in columns)


def check_header(source: object, number: int, names: Sequence[str]) -> None:
    """Check that a header names every column, each differently; only the first column may have no name.

    Args:
        source: Name of the file, for the message.
        number: Number of the header's line or row.
        names: Names of the columns.

    Raises:
        ValueError: If a name is missing or occurs twice; the message names the place, the column and the remedy.
    """
    where = f"{escape(source)}:{number}: the header"
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{where} names {quote(twice[0])} twice; rename one of them")
    if "" in names[1:]:
        raise ValueError(f"{where} has no name for column {names.index('', 1) + 1}; only the first may have none")


def stem_suffix(path: Path) -> str:
    """Suffix of a path in lower case, ignoring those of `COMPRESSIONS`."""
    name = Path(path.name.lower())
    while name.suffix in COMPRESSIONS:
        name = Path(name.stem)
    return name.suffix
