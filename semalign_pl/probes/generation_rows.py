"""Rows that probes ask about: records of any readable file, and the texts in their columns."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from semalign_pl.data.reading.fields import Fault, Missing, is_blank, value_of
from semalign_pl.data.reading.formats import BadRow, escape, find_source_files, quote, top_column

Record = Mapping[str, object]
T = TypeVar("T")


def read_records(option: str, file: str, columns: Collection[str], split: str = "test") -> dict[str, Record]:
    """Read all rows of a file or hub data set.

    Args:
        option: YAML key of the file, for messages.
        file: File, hub data set or folder, as for the corpora of a data module.
        columns: Columns to read, or paths such as ``answers.text``; empty for all.
        split: Split of a hub data set, if ``file`` names none.

    Returns:
        Records by id, such as ``test.jsonl:17``, in file order.

    Raises:
        ValueError: If the file cannot be read, has a bad row, lacks a column in its first row, or has no row.
    """
    records: dict[str, Record] = {}
    try:
        for source_file in find_source_files(file, split):
            for number, record in source_file.read(set(columns)):
                if isinstance(record, BadRow):
                    raise ValueError(record.message)
                if not records and (missing := next((c for c in columns if top_column(record, c) is None), None)):
                    names = escape(", ".join(record), 300)
                    raise ValueError(
                        f"{escape(file)}: no column {missing!r}; the columns are {names}; name one of them"
                    )
                assert f"{source_file.name}:{number}" not in records, "a format numbers its rows"
                records[f"{source_file.name}:{number}"] = record
    except OSError as error:
        raise ValueError(f"{option}: {escape(file)}: cannot be read ({error.strerror}); check its path") from error
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error
    if not records:
        raise ValueError(f"{option}: {escape(file)}: no rows in it; give another file")
    return records


def draw(rows: Sequence[T], limit: int | None, seed: int) -> list[T]:
    """At most ``limit`` of the rows, drawn by seed, in their order.

    Args:
        rows: Rows to draw from.
        limit: Maximum number of rows; ``None`` for all.
        seed: Seed of the draw.
    """
    if limit is None or limit >= len(rows):
        return list(rows)
    return [rows[i] for i in sorted(random.Random(seed).sample(range(len(rows)), limit))]


def texts_at(record: Record, column: str) -> list[str]:
    """Texts at a column or path: one for a text or number, each of a list, none for a blank value.

    Args:
        record: Row that has the path's first column.
        column: Name of a column, or path.

    Raises:
        Fault: If the value is something else.
    """
    try:
        value = value_of(record, column)
    except Missing:
        return []
    values = value if isinstance(value, list | tuple) else [value]
    if wrong := next(
        (one for one in values if isinstance(one, bool) or not isinstance(one, str | int | float | None)), None
    ):
        raise Fault(
            f"{column!r} is not text or a number but {quote(wrong)} ({type(wrong).__name__}); name another column"
        )
    return [str(one) for one in values if not is_blank(one)]
