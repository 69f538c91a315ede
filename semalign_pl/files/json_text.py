"""JSON text without bare ``NaN`` and ``Infinity``, which Python writes and no other reader accepts."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

log = logging.getLogger(__name__)


def to_json(
    value: object, where: str | Path, *, indent: int | None = None, default: Callable[[object], object] | None = None
) -> str:
    """JSON text of a value; a number that is not finite becomes ``null``, and a warning names it.

    Args:
        value: Value to write.
        where: File that the text is for, named in the warning.
        indent: Spaces per level; ``None`` for one line.
        default: Function that replaces an object of a type that JSON does not have, as in ``json.dumps``.
    """
    dumps = partial(json.dumps, ensure_ascii=False, indent=indent, default=default, allow_nan=False)
    if not (found := nonfinite(value)):
        return dumps(value)
    (path, number), more = found[0], len(found) - 1
    log.warning(
        "%s: %s is %s, which JSON cannot hold, so null is written%s",
        where, path, number, f" (as for {more} more)" if more else "",
    )  # fmt: skip
    return dumps(_with_null(value))


def nonfinite(value: object, path: str = "") -> list[tuple[str, float]]:
    """Path and value of each number that is not finite.

    Args:
        value: JSON value.
        path: Path of the value itself.

    >>> nonfinite({"a": [1.0, float("inf")], "b": {"c": None}})
    [('a[1]', inf)]
    """
    if isinstance(value, float):
        return [] if math.isfinite(value) else [(path or "the value", float(value))]
    if isinstance(value, Mapping):
        return [one for key, item in value.items() for one in nonfinite(item, f"{path}.{key}".lstrip("."))]
    if isinstance(value, list | tuple):
        return [one for i, item in enumerate(value) for one in nonfinite(item, f"{path}[{i}]")]
    return []


def _with_null(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _with_null(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_null(item) for item in value]
    return value
