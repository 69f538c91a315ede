"""JSON Lines files: one object per line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from semalign_pl.data.reading.formats.account import LineCounter
from semalign_pl.data.reading.formats.json_decoder import (
    DECODER,
    DEEP,
    DuplicateKey,
    LongNumber,
    describe_json_error,
    is_deep,
)
from semalign_pl.data.reading.formats.lines import lines
from semalign_pl.data.reading.formats.record import BadRow, Item, NoRow, bad_row, quote


def json_lines(path: Path, counter: LineCounter) -> Iterator[Item]:
    """Yield one item per line: a row, a bad row or a blank line.

    Args:
        path: Path of the file.
        counter: Number of lines read, updated while reading.
    """
    for number, line in lines(path, counter):
        if isinstance(line, BadRow):
            yield Item(number, line)
        else:
            yield Item(number, NoRow.BLANK if line.isspace() else _line(path, number, line))


def _line(path: Path, number: int, line: str) -> Mapping[str, object] | BadRow:
    try:
        record = DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        fault = f"not JSON ({describe_json_error(error)}): {quote(line.strip())}; write one whole object per line"
        return bad_row(path, number, fault, line)
    return object_row(path, number, record, line)


def object_row(path: Path, number: int, record: object, raw: str | None = None) -> Mapping[str, object] | BadRow:
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
    return bad_row(path, number, _describe_wrong_value(record), repr(record) if raw is None else raw)


def _describe_wrong_value(record: object) -> str:
    if isinstance(record, DuplicateKey):
        return f"the object has {quote(record.key)} twice; leave one out"
    kind = "number" if isinstance(record, LongNumber) else type(record).__name__
    wanted = 'write one object per line, such as {"zh": "…", "bo": "…"}'
    return f"a JSON {kind} where an object is wanted; {wanted}"
