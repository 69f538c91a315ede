"""Rows as readers yield them, good and bad, and helpers for their messages and columns."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

MAX_TEXT = 1_000_000
"""Characters that a field may hold; more is a line break that got lost."""
MAX_LINE = 8 * MAX_TEXT
"""Bytes that a line may hold."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read.

    Attributes:
        number: Number of the row, as in `Record`.
        message: One line with place, fault and remedy.
        raw: The beginning of the row.
    """

    number: int
    message: str
    raw: str


Record = tuple[int, Mapping[str, Any] | BadRow]
"""The line that a row starts on in a text file, else its 1-based place; and column to value."""


class NoRow(Enum):
    """A line that is not a row."""

    BLANK = "blank"
    HEADER = "header"


class Item(NamedTuple):
    """Result of reading one line, or several lines of one row.

    Attributes:
        number: Number of the first line, as in `Record`.
        row: Column to value, a bad row, or the kind of a line that is not a row.
        span: Number of lines.
    """

    number: int
    row: Mapping[str, Any] | BadRow | NoRow
    span: int = 1


def bad_row(source: object, number: int, fault: str, raw: str | bytes) -> BadRow:
    """Return a bad row; the fault ends with its remedy."""
    text = raw[:800].decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw[:200]
    return BadRow(
        number,
        f"{shown(source)}:{number}: {fault}",
        text.rstrip("\r\n").encode("utf-8", "backslashreplace").decode()[:200],
    )


def shown(text: object, limit: int | None = None) -> str:
    """Return text for a message: on one line, escaped where it cannot be printed, cut to ``limit`` characters."""
    text = str(text)
    if limit is not None and len(text) > limit:
        text = f"{text[:limit]}…"
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def quoted(value: Any) -> str:
    """The beginning of a value, as Python writes it."""
    return repr(value[:60]) if isinstance(value, str) else reprlib.repr(value)[:60]


def one_line(error: Exception) -> str:
    """An error's message on one line, or its type where it has none."""
    return shown(" ".join(str(error).split()), 300) or type(error).__name__


COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")


def top_column(columns: Container[str], column: str) -> str | None:
    """The file's own column that a name or path begins with, or ``None``.

    A column whose own name has dots is found before a path: ``a.b`` is the column ``a.b`` where there is one, else the
    part ``b`` of the column ``a``.

    Args:
        columns: Columns of the file, or a record that has them.
        column: Name or path, such as ``translation.bo``.
    """
    while column not in columns:
        column, dot, _ = column.rpartition(".")
        if not dot:
            return None
    return column


def wanted_columns(names: Sequence[str], columns: Iterable[str]) -> list[str]:
    """The file's columns that names or paths begin with; all where one is missing, so that an error can name it.

    Args:
        names: The file's columns.
        columns: Names or paths that are wanted; none for all columns.
    """
    tops = {top_column(names, column) for column in columns}
    return [name for name in names if not tops or None in tops or name in tops]


def is_headless(cells: Sequence[Any], columns: Iterable[str]) -> bool:
    """Tell whether a table's first row is data: all columns that are wanted are numbers that it does not hold.

    Args:
        cells: The first row.
        columns: Columns that are wanted.
    """
    return all(name.isdecimal() and name not in cells for name in columns)


def check_header(source: object, number: int, names: Sequence[str]) -> None:
    """Refuse a header with a name twice or without a name; only the first column may have none.

    Args:
        source: File, for the message.
        number: Line or row of the header.
        names: Names of the columns.

    Raises:
        ValueError: Names the place, the column and the remedy.
    """
    where = f"{shown(source)}:{number}: the header"
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{where} names {quoted(twice[0])} twice; rename one of them")
    if "" in names[1:]:
        raise ValueError(f"{where} has no name for column {names.index('', 1) + 1}; only the first may have none")


def stem_suffix(path: Path) -> str:
    """The suffix in small letters, without those of `COMPRESSIONS`."""
    name = Path(path.name.lower())
    while name.suffix in COMPRESSIONS:
        name = Path(name.stem)
    return name.suffix
