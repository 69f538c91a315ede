"""What a reader yields: a record, or a row that is none and why."""

from __future__ import annotations

import reprlib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

MAX_TEXT = 1_000_000
"""Characters a field may hold; more is a line break that got lost."""
MAX_LINE = 8 * MAX_TEXT
"""Bytes a line may hold."""


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read.

    Attributes:
        number: Of the row, as a record's.
        message: One line: where it is, what is wrong, what to do.
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
    """What a reader makes of one line, or of several that belong together.

    Attributes:
        number: Number of the first line, as a record's.
        row: Column to value, what is wrong with the row, or what the line is instead of a row.
        span: Number of lines.
    """

    number: int
    row: Mapping[str, Any] | BadRow | NoRow
    span: int = 1


def bad_row(source: object, number: int, fault: str, raw: str | bytes) -> BadRow:
    """A row with a fault, which says what to do, too."""
    text = raw[:800].decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw[:200]
    return BadRow(
        number,
        f"{shown(source)}:{number}: {fault}",
        text.rstrip("\r\n").encode("utf-8", "backslashreplace").decode()[:200],
    )


def shown(text: object, limit: int | None = None) -> str:
    """Text as it can stand in a message: on one line, what cannot be printed escaped, cut to ``limit``."""
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
        columns: Those of the file, or a record that has them.
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


def stem_suffix(path: Path) -> str:
    """The suffix in small letters, without those of `COMPRESSIONS`."""
    name = Path(path.name.lower())
    while name.suffix in COMPRESSIONS:
        name = Path(name.stem)
    return name.suffix
