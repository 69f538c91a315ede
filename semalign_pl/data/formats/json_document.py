"""``.json`` files: an array of objects, an object with such an array, SQuAD's questions, or JSON Lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from semalign_pl.data.formats.account import Intake
from semalign_pl.data.formats.json_rows import json_lines, object_row
from semalign_pl.data.formats.json_shape import choose_list, shape_of, spanning_lines
from semalign_pl.data.formats.json_stream import Window
from semalign_pl.data.formats.json_value import DECODER
from semalign_pl.data.formats.lines import head_of, open_bytes
from semalign_pl.data.formats.record import Item, quoted, shown
from semalign_pl.data.formats.squad import squad

_SQUAD = re.compile(r'\s*\{[^{]*"data"\s*:\s*(?=\[\s*\{[^{]*"paragraphs"\s*:)')


def json_file(path: Path, key: str, split: str, columns: set[str], intake: Intake) -> Iterator[Item]:
    """Yield the rows of a file, numbered by place; rows of JSON Lines by line.

    Args:
        path: The file.
        key: Key of the list to read, with dots into inner objects: ``data.train``. If empty, the key that is named like
            the split, or the only one, that holds a list of objects.
        split: Split that is wanted.
        columns: Columns that are wanted; an object on the only line of a file that has one of them is a row.
        intake: Count of lines, or of a list's elements.

    Raises:
        ValueError: It is no such file; says what it is, and the command that converts it.
    """
    with open_bytes(path) as file:
        window, head = _begin(path, file)
        if (found := _SQUAD.match(head)) and key in ("", "data"):
            window.at = found.end()
            yield from squad(path, window, intake)
            return
        if window.sign() == "[":
            if key:
                raise ValueError(f"{shown(path)}: an array, which has no keys; leave out #{shown(key)}")
            yield from _rows(path, window.elements(), intake)
            window.end(what="array")
            return
    if not key and (by_line := _is_by_line(head)) is None:
        with open_bytes(path) as file:
            window, _ = _begin(path, file)
            by_line, key = _survey(path, window, split, columns)
    if not key:
        yield from json_lines(path, intake)
        return
    with open_bytes(path) as file:
        window, _ = _begin(path, file)
        if window.sign() != "{":
            raise ValueError(f"{shown(path)}: not an object, which alone has keys; leave out #{shown(key)}")
        yield from _rows(path, _list_at(window, key), intake)
        window.end()


def _begin(path: Path, file: BinaryIO) -> tuple[Window, str]:
    head = head_of(path, file).decode(errors="ignore")  # type: ignore[arg-type]
    window = Window(path, file)
    window.grow()
    return window, head


def _rows(path: Path, elements: Iterator[Any], intake: Intake) -> Iterator[Item]:
    for number, record in enumerate(elements, 1):
        intake.lines += 1
        yield Item(number, object_row(path, number, record))


def _is_by_line(head: str) -> bool | None:
    """Tell whether a file has one object per line; None if its beginning does not show it."""
    head = head.lstrip()
    if not head.startswith("{"):
        return True
    try:
        _, end = DECODER.raw_decode(head)
    except json.JSONDecodeError as error:
        # A document goes on after its first line. An object that was cut off there cannot go on with the next one.
        before = head[: error.pos]
        first_line = "\n" not in before and "\n" in head
        return True if first_line or (before.count("\n") == 1 and not before.rpartition("\n")[2].strip()) else None
    except RecursionError:
        return None
    except ValueError:
        return True
    return True if "\n" not in head[:end] and head[end:].strip() else None


def _survey(path: Path, window: Window, split: str, columns: set[str]) -> tuple[bool, str]:
    """Return whether a document has one object per line, and else the key of the list to read."""
    window.sign()
    begun = window.line_number()
    shape = shape_of(window)
    on_one_line = window.line_number() == begun
    more = window.sign()
    assert isinstance(shape, dict)
    if on_one_line and (more or any(name in shape or name.partition(".")[0] in shape for name in columns)):
        return True, ""
    if more == "{":
        raise spanning_lines(path)
    window.end()
    return False, choose_list(path, shape, split)


def _list_at(window: Window, key: str) -> Iterator[Any]:
    """Yield the elements of the list at a key, which may be a path into inner objects."""
    found, there = False, []  # the first keys, for the message
    for name in window.members():
        there = [*there, name] if len(there) < 20 else there
        if name == key:
            if found:
                raise window.fault(f"the key {quoted(key)} twice")
            if window.sign() != "[":
                raise ValueError(f"{shown(window.path)}: {quoted(key)} is no list; name a key that holds one")
            yield from window.elements()
            found = True
        elif key.startswith(f"{name}.") and window.sign() == "{":
            yield from _list_at(window, key[len(name) + 1 :])
            found = True
        else:
            shape_of(window)
    if not found:
        keys = shown(", ".join(there), 300)
        raise ValueError(f"{shown(window.path)}: no key {quoted(key)}; the keys are {keys}; name one after #")
