"""JSON decoder with limits on depth and on the length of numbers; it marks duplicate keys and long numbers."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

from semalign_pl.data.reading.formats.record import error_line

MAX_DIGITS = 1000
"""Maximum number of digits of an integer: 64-bit integers have 20. Python's own limit is 4,300, from 3.10.7 on only."""
MAX_DEPTH = 64
"""Maximum number of nested levels: corpora have three to five. Python's own limit depends on the caller."""


@dataclass(frozen=True)
class DuplicateKey:
    """Placeholder for an object with a duplicate key; Python would keep the last value.

    Attributes:
        key: Key that occurs more than once.
    """

    key: str

    def __repr__(self) -> str:
        return f"an object with the key {self.key!r} twice"


def _object(pairs: list[tuple[str, object]]) -> dict[str, object] | DuplicateKey:
    record = dict(pairs)
    return record if len(record) == len(pairs) else DuplicateKey(Counter(key for key, _ in pairs).most_common(1)[0][0])


@dataclass(frozen=True)
class LongNumber:
    """Placeholder for an integer with so many digits that its conversion takes long (quadratic in their number).

    Attributes:
        digits: Number of characters of the integer.
    """

    digits: int

    def __repr__(self) -> str:
        return f"a number of {self.digits:,} digits"


def _number(digits: str) -> int | LongNumber:
    return int(digits) if len(digits) <= MAX_DIGITS else LongNumber(len(digits))


DEEP = f"nested more than {MAX_DEPTH} deep"
DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_number)


def describe_json_error(error: ValueError | RecursionError) -> str:
    """Reason of a JSON error in words, for a message."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')} at column {error.colno}"
    return DEEP if isinstance(error, RecursionError) else error_line(error)


def is_deep(value: object) -> bool:
    """Return true if a value is nested more than `MAX_DEPTH` levels deep."""
    level = [value]  # one level at a time: recursion could exceed Python's limit
    for _ in range(MAX_DEPTH):
        inner = (v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list))
        level = [v for values in inner for v in values if isinstance(v, dict | list)]
        if not level:
            return False
    return True
