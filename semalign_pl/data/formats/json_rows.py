"""JSON Lines: an object per line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from semalign_pl.data.formats.account import Intake
from semalign_pl.data.formats.json_stream import DECODER, Twice, reason
from semalign_pl.data.formats.lines import lines
from semalign_pl.data.formats.record import BadRow, Item, NoRow, bad_row, quoted


def json_lines(path: Path, intake: Intake) -> Iterator[Item]:
    """One JSON object per line; none for a blank line."""
    for number, line in lines(path, intake):
        if isinstance(line, BadRow):
            yield Item(number, line)
        else:
            yield Item(number, NoRow.BLANK if line.isspace() else _line(path, number, line))


def _line(path: Path, number: int, line: str) -> Mapping[str, Any] | BadRow:
    try:
        record = DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        fault = f"not JSON ({reason(error)}): {quoted(line.strip())}; write one whole object a line"
        return bad_row(path, number, fault, line)
    return record if isinstance(record, dict) else bad_row(path, number, no_object(record), line)


def no_object(record: Any) -> str:
    """What is wrong with a value that is no row."""
    if isinstance(record, Twice):
        return f"the object has {quoted(record.key)} twice; leave one out"
    wanted = 'write one object a line, such as {"zh": "…", "bo": "…"}'
    return f"a JSON {type(record).__name__} where an object is wanted; {wanted}"
