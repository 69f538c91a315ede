"""Values of a record by the name of their column, or by a path into a nested one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from semalign_pl.data.formats import fault_of, quoted, shown, top_column


class Fault(ValueError):
    """Fault of a row with its remedy, in one line without the row's place."""


class Missing(Fault):
    """Fault of a row in which a path ends before its last step: a key, a position or a value is not there."""


def value_of(record: Mapping[str, Any], column: str) -> Any:
    """The value at a column or path.

    A step of a path is a key of an object, a position in a list (from 0), or goes through a list of one by itself:
    ``answers.text`` leads to ``["Rome"]`` in ``{"answers": {"text": ["Rome"]}}``, and to ``"Rome"`` in ``{"answers":
    [{"text": "Rome"}]}``.

    Args:
        record: A row that has the path's first column (`top_column`).
        column: Name or path.

    Raises:
        Missing: The path leads nowhere.
        Fault: It leads to several values, or through one that has no parts.
    """
    top = top_column(record, column)
    assert top is not None, "the caller has looked whether the column is there"
    value, at = record[top], top
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
                there = shown(", ".join(map(str, value)), 200)
                raise Missing(f"{at!r} has no part {step!r}; its parts are {there}; name one of them, e.g. {at}.<part>")
            value = value[step]
        else:
            if value is None:
                raise Missing(f"{at!r} is null, which has no part {step!r}; fill it in or drop the row")
            kind = f"{quoted(value)} ({type(value).__name__})"
            raise Fault(f"{at!r} is {kind}, which has no part {step!r}; mend it or drop the row")
        at = f"{at}.{step}"
    return value


def text_of(record: Mapping[str, Any], column: str, field: str) -> str:
    """The text at a column or path, checked; a list of one text at a path is that text.

    Args:
        record: A row that has the path's first column.
        column: Name or path.
        field: Name of the task's field, for messages.

    Raises:
        Fault: There is no good text there.
    """
    value = value_of(record, column)
    nested = column not in record
    if isinstance(value, list) and value and not (nested and len(value) == 1):
        held = f"a list of {len(value)}" if nested else f"not text but {quoted(value)} (list)"
        raise Fault(
            f"{column!r}, the field {field}, is {held}; say which one, e.g. data.init_args.columns: {{{field}: "
            f"{column}.0}} for the first, or drop the row"
        )
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, Mapping) and value:
        part = field if field in value else next(iter(value))
        there = shown(", ".join(map(str, value)), 200)
        raise Fault(
            f"{column!r}, the field {field}, is not text but an object (dict) with {there}; name one "
            f"of its parts, e.g. data.init_args.columns: {{{field}: {column}.{part}}}, or drop the row"
        )
    if wrong := fault_of(value):
        raise Fault(f"{column!r}, the field {field}, is {wrong} or drop the row")
    assert isinstance(value, str), "fault_of names whatever else it is"
    return value


def is_blank(value: Any) -> bool:
    """Tell whether a value is null, blank text, or an empty list or object."""
    return value is None or (not value.strip() if isinstance(value, str) else value in ([], {}))


def texts_in(value: Any) -> Iterator[str]:
    """Every text of a value, those of nested columns too; not the names of a conversation's roles.

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


def nested_place(record: Mapping[str, Any], name: str) -> str | None:
    """The path of a part that has this name inside a nested column, or ``None``; for suggestions.

    Args:
        record: A row.
        name: Name of a field or column that the row itself lacks.
    """
    for column, value in record.items():
        inner = value[0] if isinstance(value, list) and len(value) == 1 else value
        if isinstance(inner, Mapping) and name in inner:
            return f"{column}.{name}"
    return None
