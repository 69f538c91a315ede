"""Checked access to parsed JSON and YAML: a value of another kind raises ``TypeError``, which names it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def as_object(value: object) -> Mapping[str, object]:
    """Value as an object.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"{str(value)[:60]!r} is no object")
    return value


def as_list(value: object) -> Sequence[object]:
    """Value as a list.

    Raises:
        TypeError: If it is none.
    """
    if not isinstance(value, list | tuple):
        raise TypeError(f"{str(value)[:60]!r} is no list")
    return value


def as_number(value: object) -> float:
    """Value as a number.

    Raises:
        TypeError: If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{str(value)[:60]!r} is no number")
    return float(value)


def get_object(value: object, *keys: str) -> Mapping[str, object]:
    """Object at a path of keys; empty if there is none.

    >>> get_object({"a": {"b": {"c": 1}}}, "a", "b"), get_object({"a": None}, "a", "b")
    ({'c': 1}, {})
    """
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}
