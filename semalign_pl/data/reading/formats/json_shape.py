"""Shape of a JSON object, choice of the list in it to read, and commands that convert an object without such a list."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from semalign_pl.data.reading.formats.json_decoder import DuplicateKey
from semalign_pl.data.reading.formats.json_stream import JsonStream
from semalign_pl.data.reading.formats.record import escape, quote

_DEPTH = 3  # levels of objects that are read key by key; deeper objects are parsed whole
_KEYS = 1_000  # keys per object that are kept
_ROWS, _EMPTY = "list of objects", "empty list"

Shape = str | dict[str, "Shape"]
"""Kind of a value in words, or for an object the shape of the value per key."""


def shape_of(stream: JsonStream, depth: int = 0) -> Shape:
    """Read the next value of a document, of any size, and return its shape.

    Args:
        stream: Document, positioned at the value.
        depth: Number of objects that contain the value.

    Raises:
        ValueError: If the text is not JSON, or an object has a key twice.
    """
    sign = stream.peek()
    if sign == "[":
        kind = _EMPTY
        for element in stream.elements():
            kind = f"list of {_kind(element)}s" if kind == _EMPTY else kind
        return kind
    if sign != "{" or depth == _DEPTH:
        return _kind(stream.value())
    shape: dict[str, Shape] = {}
    for key in stream.members():
        if key in shape:
            raise stream.error(f"the key {quote(key)} twice")
        inner = shape_of(stream, depth + 1)
        if len(shape) < _KEYS:
            shape[key] = inner
    return shape


def _kind(value: object) -> str:
    names = {dict: "object", DuplicateKey: "object", list: "list", str: "text", bool: "truth value", type(None): "null"}
    return names.get(type(value), "number")


def choose_list(path: Path, shape: Mapping[str, Shape], split: str) -> str:
    """Choose the key of the list of objects to read: the one with the split's name, or else the only one.

    Args:
        path: Path of the file, for messages.
        shape: Shape of the object.
        split: Name of the wanted split.

    Raises:
        ValueError: If there is none, or several; the message lists the keys, and tells how to choose or convert.
    """
    lists = [key for key, inner in shape.items() if inner == _ROWS]
    if split in lists or shape.get(split) == _EMPTY:
        return split
    if len(lists) == 1:
        return lists[0]
    keys = ", ".join(f"{key} ({_describe(inner)})" for key, inner in list(shape.items())[:20])
    raise ValueError(f"{escape(path)}: a JSON object with the keys {escape(keys, 600)}; {_remedy(path, shape, lists)}")


def _describe(shape: Shape) -> str:
    return shape if isinstance(shape, str) else f"object with {', '.join(list(shape)[:5])}"


def _remedy(path: Path, shape: Mapping[str, Shape], lists: list[str]) -> str:
    inner = [f"{key}.{name}" for key, of in shape.items() if isinstance(of, dict) for name in of if of[name] == _ROWS]
    if lists or inner:
        return f"say which list is read, e.g. {escape(path)}#{escape((lists or inner)[0], 100)}"
    if "columns" in shape and shape.get("data") == "list of lists":
        return "these are the rows of pandas' orient='split'; convert them: " + _by_pandas(path, "split")
    if shape and all(isinstance(of, dict) for of in shape.values()):
        numbers = all(name.isdecimal() for of in shape.values() for name in of)
        orient = "columns" if numbers else "index"
        return f"this is pandas' orient='{orient}'; convert it: " + _by_pandas(path, orient)
    if shape and all(isinstance(of, str) and of.startswith("list of") for of in shape.values()):
        frame = f"pandas.DataFrame(json.load(open({str(path)!r}, encoding='utf-8')))"
        return f'these are columns; convert them: python -c "import json, pandas; {frame}{_to_lines(path)}"'
    return f'if it is one row, write it on one line: {_by_jq(path)}; else write the rows as {{"data": [{{…}}, {{…}}]}}'


def spanning_lines_error(path: Path) -> ValueError:
    """Error for a file of JSON objects that span several lines each."""
    return ValueError(f"{escape(path)}: JSON objects over several lines each; write one per line: {_by_jq(path)}")


def _by_jq(path: Path) -> str:
    return f"jq -c . {shlex.quote(escape(path))} > {shlex.quote(escape(path.with_suffix('.jsonl')))}"


def _by_pandas(path: Path, orient: str) -> str:
    # With its defaults, pandas would convert text to numbers and dates.
    as_text = "dtype=False, convert_dates=False, convert_axes=False"
    read = f"pandas.read_json({str(path)!r}, orient={orient!r}, {as_text})"
    return escape(f'python -c "import pandas; {read}{_to_lines(path)}"')


def _to_lines(path: Path) -> str:
    return f".to_json({str(path.with_suffix('.jsonl'))!r}, orient='records', lines=True, force_ascii=False)"
