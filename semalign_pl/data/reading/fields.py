"""Values of a record, by the name of a column or by a path into a nested column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from semalign_pl.data.reading.formats import MAX_TEXT, escape, quote, top_column

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class Fault(ValueError):
    """Error for a row: its fault and the remedy, in one line without the row's position."""


class Missing(Fault):
    """Error for a row that lacks a key, a position or a value on a path."""


def value_of(record: Mapping[str, object], column: str) -> object:
    """Value at a column or path.

    A step of a path is a key of an object or a position in a list (from 0). The position may be left out for a list of
    one item: ``answers.text`` gives ``["Rome"]`` for ``{"answers": {"text": ["Rome"]}}``, and ``"Rome"`` for
    ``{"answers": [{"text": "Rome"}]}``.

    Args:
        record: Row that has the path's first column (`top_column`).
        column: Name of a column, or path.

    Raises:
        Missing: If the row has no value at the path.
        Fault: If the path has several values, or goes through a value without parts.
    """
    top = top_column(record, column)
    assert top is not None, "the caller has looked whether the column is there"
    value: object = record[top]
    at = top
    steps = column[len(top) + 1 :].split(".") if len(column) > len(top) else []
    for place, step in enumerate(steps):
        if isinstance(value, list) and not step.isdecimal():
            if len(value) > 1:
                rest = ".".join(steps[place:])
                raise Fault(f"{at!r} is a list of {len(value)}; say which one, e.g. {at}.0.{rest} for the first")
            if not value:
                raise Missing(f"{at!r} is an empty list, so there is no {column!r}; fill it in or drop the row")
            value = value[0]
        if isinstance(value, list):
            if int(step) >= len(value):
                raise Missing(f"{at!r} is a list of {len(value)}, so there is no {column!r} (positions start at 0)")
            value = value[int(step)]
        elif isinstance(value, Mapping):
            if step not in value:
                keys = escape(", ".join(map(str, value)), 200)
                raise Missing(f"{at!r} has no part {step!r}; its parts are {keys}; name one of them, e.g. {at}.<part>")
            value = value[step]
        else:
            if value is None:
                raise Missing(f"{at!r} is null, which has no part {step!r}; fill it in or drop the row")
            kind = f"{quote(value)} ({type(value).__name__})"
            raise Fault(f"{at!r} is {kind}, which has no part {step!r}; mend it or drop the row")
        at = f"{at}.{step}"
    return value


def text_of(record: Mapping[str, object], column: str, field: str) -> str:
    """Text at a column or path, checked; for a list of one text at a path, that text.

    Args:
        record: Row that has the path's first column.
        column: Name of a column, or path.
        field: Name of the task's field, for messages.

    Raises:
        Fault: If the value is not a good text.
    """
    value = value_of(record, column)
    nested = column not in record
    if isinstance(value, list) and value and not (nested and len(value) == 1):
        kind = f"a list of {len(value)}" if nested else f"not text but {quote(value)} (list)"
        raise Fault(
            f"{column!r}, the field {field}, is {kind}; say which one, e.g. data.init_args.columns: {{{field}: "
            f"{column}.0}} for the first, or drop the row"
        )
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, Mapping) and value:
        key = field if field in value else next(iter(value))
        keys = escape(", ".join(map(str, value)), 200)
        raise Fault(
            f"{column!r}, the field {field}, is not text but an object (dict) with {keys}; name one "
            f"of its parts, e.g. data.init_args.columns: {{{field}: {column}.{key}}}, or drop the row"
        )
    if wrong := fault_of(value):
        raise Fault(f"{column!r}, the field {field}, is {wrong} or drop the row")
    assert isinstance(value, str), "fault_of names whatever else it is"
    return value


def is_blank(value: object) -> bool:
    """Return true if a value is null, blank text, or an empty list or object."""
    return value is None or (not value.strip() if isinstance(value, str) else value in ([], {}))


def texts_in(value: object) -> Iterator[str]:
    """Yield every text of a value, including nested columns, but not the names of a conversation's roles.

    Args:
        value: Value of a column, or a whole record.
    """
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if {"role": "content", "from": "value"}.get(key) not in value:
                yield from texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)


def nested_place(record: Mapping[str, object], name: str) -> str | None:
    """Path to a key of this name inside a nested column, for suggestions; ``None`` if there is none.

    Args:
        record: Row to search.
        name: Name of a field or column that the row itself lacks.
    """
    for column, value in record.items():
        inner = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(inner, Mapping) and name in inner:
            return f"{column}.{name}"
    return None


def fault_of(value: object) -> str | None:
    """Fault of a field's value and its remedy, for a message, or None if the value is valid.

    Valid text has 1 to `MAX_TEXT` characters, is not blank, and contains neither half a surrogate pair nor control
    characters other than tab, line feed and carriage return.
    """
    if not isinstance(value, str):
        return f"not text but {quote(value)} ({type(value).__name__}); write it as text"
    if len(value) > MAX_TEXT:
        return (
            f"of {len(value):,} characters, {quote(value)} …, more than {MAX_TEXT:,}: a line break got lost; split it"
        )
    if not value or value.isspace():
        return f"empty ({quote(value)}); fill it in"
    if match := _CONTROL.search(value):
        context = quote(value[max(0, match.start() - 20) :])
        if match[0] >= "\ud800":
            return f"not Unicode text, half a surrogate pair in {context}; mend it"
        return f"not plain text, the control character U+{ord(match[0]):04X} in {context}; take it out"
    return None
