"""JSON values of bounded depth and length of numbers; duplicate keys and long numbers are marked, not changed."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from semalign_pl.data.formats.record import one_line

MAX_DIGITS = 1000
"""Digits of a whole number; a 64-bit one has 20, and Python itself stops at 4,300, but not before 3.10.7."""
MAX_DEPTH = 64
"""Levels that a JSON value may be nested; corpora have three to five, and Python's own limit depends on the caller."""


@dataclass(frozen=True)
class DuplicateKey:
    """In place of an object that gives a key twice, of which Python would keep the last."""

    key: str

    def __repr__(self) -> str:
        return f"an object with the key {self.key!r} twice"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | DuplicateKey:
    record = dict(pairs)
    return record if len(record) == len(pairs) else DuplicateKey(Counter(key for key, _ in pairs).most_common(1)[0][0])


@dataclass(frozen=True)
class LongNumber:
    """In place of a whole number of so many digits that converting it takes long (quadratic in their number)."""

    digits: int

    def __repr__(self) -> str:
        return f"a number of {self.digits:,} digits"


def _number(digits: str) -> int | LongNumber:
    return int(digits) if len(digits) <= MAX_DIGITS else LongNumber(len(digits))


DEEP = f"nested more than {MAX_DEPTH} deep"
DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_number)


def reason(error: ValueError | RecursionError) -> str:
    """Reason of a JSON error, in words."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')} at column {error.colno}"
    return DEEP if isinstance(error, RecursionError) else one_line(error)


def is_deep(value: Any) -> bool:
    """Tell whether a value is nested more than `MAX_DEPTH` deep."""
    level = [value]  # one level at a time, because recursion would end at Python's limit
    for _ in range(MAX_DEPTH):
        inner = (v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list))
        level = [v for values in inner for v in values if isinstance(v, dict | list)]
        if not level:
            return False
    return True
