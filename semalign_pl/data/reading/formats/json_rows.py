"""JSON Lines files: one object per line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from semalign_pl.data.reading.formats.account import Intake
from semalign_pl.data.reading.formats.json_value import DECODER, DEEP, DuplicateKey, LongNumber, is_deep, reason
from semalign_pl.data.reading.formats.lines import lines
from semalign_pl.data.reading.formats.record import BadRow, Item, NoRow, bad_row, quoted


def json_lines(path: Path, intake: Intake) -> Iterator[Item]:
    """Yield one item per line: a row, a bad row or a blank line.

    Args:
        path: Path of the file.
        intake: Number of lines read, updated while reading.
    """
    for number, line in lines(path, intake):
        if isinstance(line, BadRow):
            yield Item(number, line)
        else:
            yield Item(number, NoRow.BLANK if line.isspace() else _line(path, number, line))


def _line(path: Path, number: int, line: str) -> Mapping[str, Any] | BadRow:
    try:
        record = DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        fault = f"not JSON ({reason(error)}): {quoted(line.strip())}; write one whole object per line"
        return bad_row(path, number, fault, line)
    return object_row(path, number, record, line)


def object_row(path: Path, number: int, record: Any, raw: str | None = None) -> Mapping[str, Any] | BadRow:
    """Return a JSON value as a row, or as a bad row if it is not an object or is nested too deep.

    Args:
        path: Path of the file, for messages.
        number: Number of the row.
        record: JSON value, from `DECODER`.
        raw: Text of the value, for the bad row; if None, the value's ``repr``, or nothing if it is nested too deep.
    """
    if is_deep(record):
        return bad_row(path, number, f"{DEEP}; flatten it, or drop it", raw or "")
    if isinstance(record, dict):
        return record
    return bad_row(path, number, _no_object(record), repr(record) if raw is None else raw)


def _no_object(record: Any) -> str:
    if isinstance(record, DuplicateKey):
        return f"the object has {quoted(record.key)} twice; leave one out"
    kind = "number" if isinstance(record, LongNumber) else type(record).__name__
    wanted = 'write one object per line, such as {"zh": "…", "bo": "…"}'
    return f"a JSON {kind} where an object is wanted; {wanted}"
