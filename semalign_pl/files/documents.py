"""YAML and JSON that users write, read within stated limits: no file takes minutes, or ends in a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from semalign_pl.files.yaml_keys import DuplicateKeyError, check_keys

MAX_YAML_BYTES = 2**18
"""Size of a YAML file. Recipes, studies and language profiles have some kilobytes; so much is read in two seconds."""
MAX_VALUES = 100_000
"""Keys and values of a YAML text, those of an alias counted at each use: nine lines of nine aliases are a billion."""
MAX_DEPTH = 64
"""Levels of lists and mappings. Recipes have about ten; what copies them recurses, up to Python's limit of 1,000."""
MAX_JSON_BYTES = 2**28
"""Size of a JSON file. SQuAD has 40 MB; read, a file takes about ten times its size of memory."""


class TooLargeError(yaml.YAMLError):
    """A YAML text beyond the limits."""


def check_yaml(text: str, parser: Any = yaml.SafeLoader) -> None:
    """Refuse a YAML text beyond the limits, or with a key twice, before anything is made of it.

    Counts the parser's events, in which an alias is one event whatever it stands for: memory and time grow with the
    text alone.

    Args:
        text: The YAML.
        parser: PyYAML loader that will read it; they differ in what they accept.

    Raises:
        TooLargeError: Names the limit and the remedy.
        DuplicateKeyError: Names the key and both lines.
        yaml.YAMLError: If it is not YAML.
    """
    if len(text) > MAX_YAML_BYTES:
        raise TooLargeError(_too_long(len(text), MAX_YAML_BYTES))
    # Of each open list or mapping its anchor, values so far and levels below it; of each anchor what it was at its end.
    open_: list[tuple[str | None, int, int]] = []
    anchors: dict[str, tuple[int, int]] = {}
    values = 0
    for event in yaml.parse(text, Loader=parser):
        added, levels = 1, 0
        if isinstance(event, yaml.CollectionStartEvent):
            open_.append((event.anchor, values, 0))
        elif isinstance(event, yaml.CollectionEndEvent):
            added = 0
            anchor, before, levels = open_.pop()
            if anchor is not None:
                anchors[anchor] = (values - before, levels + 1)
            levels += 1
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _, _ in open_):
                raise TooLargeError(
                    f"*{event.anchor} is used within &{event.anchor} itself, which has no end; name another"
                )
            added, levels = anchors.get(event.anchor, (1, 0))
        elif isinstance(event, yaml.ScalarEvent):
            if event.anchor is not None:
                anchors[event.anchor] = (1, 0)
        else:
            continue
        values += added
        if open_ and not isinstance(event, yaml.CollectionStartEvent):
            anchor, before, deepest = open_[-1]
            open_[-1] = (anchor, before, max(deepest, levels))
        if values > MAX_VALUES:
            raise TooLargeError(
                f"more than {MAX_VALUES:,} keys and values, those of each *alias counted; a recipe has some hundreds: "
                "write out what is needed, without aliases of aliases"
            )
        if len(open_) + levels > MAX_DEPTH:
            raise TooLargeError(f"lists and mappings nested in more than {MAX_DEPTH} levels; nest them less")
    check_keys(text, parser)


def load_yaml(text: str) -> Any:
    """Values of a YAML text within the limits.

    Raises:
        yaml.YAMLError: If it is not YAML, or beyond the limits (`TooLargeError`).
    """
    check_yaml(text)
    try:
        return yaml.safe_load(text)
    except ValueError as error:  # what looks like a number or a date and is none: 5,000 digits, 2001-99-99
        raise yaml.YAMLError(f"{error}; put the value in quotes") from error


def read_yaml(path: Path) -> Any:
    """Values of a user's YAML file.

    Raises:
        ValueError: If it cannot be read, is not YAML or is beyond the limits; names file and remedy.
    """
    try:
        return load_yaml(_text(path, str(path), MAX_YAML_BYTES, "check the path"))
    except (TooLargeError, DuplicateKeyError) as error:
        raise ValueError(f"{path}: {error}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML ({' '.join(str(error).split())}); mend that line") from error


def read_json(path: Path, remedy: str, where: str = "", limit: int | None = None) -> Any:
    """Values of a JSON file that a user may have touched.

    Args:
        path: The file.
        remedy: Remedy for a file that cannot be read, as the end of a message.
        where: Beginning of a message; the path without.
        limit: Largest size in bytes; by default ``MAX_JSON_BYTES``.

    Raises:
        ValueError: If it cannot be read or is not JSON; names file and remedy.
    """
    where = where or str(path)
    text = _text(path, where, MAX_JSON_BYTES if limit is None else limit, remedy)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError(f"{where}: lists and objects nested deeper than Python reads; {remedy}") from error
    except ValueError as error:
        raise ValueError(f"{where}: not valid JSON ({error}); {remedy}") from error


def check_size(path: Path, where: str, limit: int = MAX_YAML_BYTES) -> None:
    """Refuse a file that is too large, before it is read.

    Raises:
        ValueError: Names file, size and limit.
    """
    if (size := path.stat().st_size) > limit:
        raise ValueError(f"{where}: {_too_long(size, limit)}")


def check_text(path: Path, where: str) -> None:
    """Refuse a YAML file that is no text, or text in another encoding than UTF-8.

    Args:
        path: The file.
        where: Beginning of a message.

    Raises:
        ValueError: If it is too large, cannot be read or is not UTF-8; names the remedy.
    """
    _text(path, where, MAX_YAML_BYTES, "check the path")


def _text(path: Path, where: str, limit: int, remedy: str) -> str:
    try:
        check_size(path, where, limit)
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{where}: cannot be read ({error.strerror}); {remedy}") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)
        there = f"line {line}" if encoding is None else f"it is {encoding}: iconv -f {encoding} -t UTF-8"
        raise ValueError(
            f"{where}: byte {error.start} is not UTF-8; save the file as UTF-8 ({there}), or give another file"
        ) from error
    if "\0" in text:
        raise ValueError(f"{where}: is not text (it has zero bytes); check that it is the right file")
    return text


_MARKS = {b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
"""Byte order marks, the longer before their beginnings."""


def _too_long(size: int, limit: int) -> str:
    return f"{size:,} bytes, and {limit:,} are the limit; check that it is the right file, or split it"
