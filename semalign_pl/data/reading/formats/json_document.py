"""``.json`` files: an array of objects, an object with such an array, SQuAD, or JSON Lines."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from semalign_pl.data.reading.formats.account import LineCounter
from semalign_pl.data.reading.formats.encodings import open_utf8
from semalign_pl.data.reading.formats.json_decoder import DECODER
from semalign_pl.data.reading.formats.json_rows import json_lines, object_row
from semalign_pl.data.reading.formats.json_shape import choose_list, shape_of, spanning_lines_error
from semalign_pl.data.reading.formats.json_stream import JsonStream
from semalign_pl.data.reading.formats.lines import read_head
from semalign_pl.data.reading.formats.record import Item, escape, quote
from semalign_pl.data.reading.formats.squad import squad

_SQUAD = re.compile(r'\s*\{[^{]*"data"\s*:\s*(?=\[\s*\{[^{]*"paragraphs"\s*:)')


def json_file(path: Path, key: str, split: str, columns: set[str], counter: LineCounter) -> Iterator[Item]:
    """Yield the rows of a file, numbered from 1; rows of JSON Lines are numbered by line.

    Args:
        path: Path of the file.
        key: Key of the list to read, with dots for inner objects: ``data.train``. If empty, the list of objects whose
            key is the split's name, or else the only list of objects.
        split: Name of the wanted split.
        columns: Names of the wanted columns. If the only line of a file is an object with one of them, it is a row.
        counter: Number of lines or list elements read, updated while reading.

    Raises:
        ValueError: If the file has another structure; the message describes it and names the command that converts it.
    """
    with open_utf8(path) as file:
        stream, head = _begin(path, file)
        if (found := _SQUAD.match(head)) and key in ("", "data"):
            stream.at = found.end()
            yield from squad(path, stream, counter)
            return
        if stream.peek() == "[":
            if key:
                raise ValueError(f"{escape(path)}: an array, which has no keys; leave out #{escape(key)}")
            yield from _rows(path, stream.elements(), counter)
            stream.end(what="array")
            return
    if not key and (by_line := _is_by_line(head)) is None:
        with open_utf8(path) as file:
            stream, _ = _begin(path, file)
            by_line, key = _survey(path, stream, split, columns)
    if not key:
        yield from json_lines(path, counter)
        return
    with open_utf8(path) as file:
        stream, _ = _begin(path, file)
        if stream.peek() != "{":
            raise ValueError(f"{escape(path)}: not an object, which alone has keys; leave out #{escape(key)}")
        yield from _rows(path, _list_at(stream, key), counter)
        stream.end()


def _begin(path: Path, file: io.BufferedReader) -> tuple[JsonStream, str]:
    head = read_head(path, file).decode(errors="ignore")
    stream = JsonStream(path, file)
    stream.read_chunk()
    return stream, head


def _rows(path: Path, elements: Iterator[object], counter: LineCounter) -> Iterator[Item]:
    for number, record in enumerate(elements, 1):
        counter.lines += 1
        yield Item(number, object_row(path, number, record))


def _is_by_line(head: str) -> bool | None:
    """Return true if the beginning of a file shows that it is read line by line; None if it does not show it."""
    head = head.lstrip()
    if not head.startswith("{"):
        return True
    try:
        _, end = DECODER.raw_decode(head)
    except json.JSONDecodeError as error:
        # A document over several lines can be parsed beyond its first line. An error on the first line, or at the start
        # of the second, is a damaged row: an object cut off at the end of a line cannot continue with the next object.
        parsed = head[: error.pos]
        on_first_line = "\n" not in parsed and "\n" in head
        return True if on_first_line or (parsed.count("\n") == 1 and not parsed.rpartition("\n")[2].strip()) else None
    except RecursionError:
        return None
    except ValueError:
        return True
    return True if "\n" not in head[:end] and head[end:].strip() else None


def _survey(path: Path, stream: JsonStream, split: str, columns: set[str]) -> tuple[bool, str]:
    """Read a document's first value, to decide how the document is read.

    Returns:
        True and an empty text if it has one object per line, or else false and the key of the list to read.
    """
    stream.peek()
    first_line_number = stream.line_number()
    shape = shape_of(stream)
    on_one_line = stream.line_number() == first_line_number
    next_character = stream.peek()
    assert isinstance(shape, dict)
    if on_one_line and (next_character or any(name in shape or name.partition(".")[0] in shape for name in columns)):
        return True, ""
    if next_character == "{":
        raise spanning_lines_error(path)
    stream.end()
    return False, choose_list(path, shape, split)


def _list_at(stream: JsonStream, key: str) -> Iterator[object]:
    """Yield the elements of the list at a key; dots in the key are for inner objects."""
    found, there = False, []  # the first keys, for the message
    for name in stream.members():
        there = [*there, name] if len(there) < 20 else there
        if name == key:
            if found:
                raise stream.error(f"the key {quote(key)} twice")
            if stream.peek() != "[":
                raise ValueError(f"{escape(stream.path)}: {quote(key)} is no list; name a key that holds one")
            yield from stream.elements()
            found = True
        elif key.startswith(f"{name}.") and stream.peek() == "{":
            yield from _list_at(stream, key[len(name) + 1 :])
            found = True
        else:
            shape_of(stream)
    if not found:
        keys = escape(", ".join(there), 300)
        raise ValueError(f"{escape(stream.path)}: no key {quote(key)}; the keys are {keys}; name one after #")
