"""Readers of users' YAML and JSON files with size limits: no file takes minutes to read or ends in a traceback."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from semalign_pl.files.yaml_keys import DuplicateKeyError, check_keys

MAX_YAML_BYTES = 2**18
"""Largest YAML file, in bytes. Recipes, studies and language files have some kilobytes. This size takes two seconds."""
MAX_VALUES = 100_000
"""Most keys and values of a YAML text. An alias counts at each use: nine lines of nine aliases are a billion."""
MAX_DEPTH = 64
"""Most levels of nested lists and mappings. Recipes have about ten. Copying recurses, and Python stops at 1,000."""
MAX_JSON_BYTES = 2**28
"""Largest JSON file, in bytes. SQuAD has 40 MB. Reading a file takes about ten times its size in memory."""

_STRUCTURE = re.compile(r"[-:?,&*!\[\]{}\n\r]")
"""Characters without one of which a YAML text is a single value: no list, mapping, anchor, alias or second document."""


class TooLargeError(yaml.YAMLError):
    """Error for a YAML text that exceeds a limit."""


def check_yaml(text: str, parser: type[yaml.SafeLoader | yaml.CSafeLoader] = yaml.SafeLoader) -> None:
    """Refuse a YAML text that exceeds a limit or has a key twice, before it is loaded.

    This counts the parser's events. An alias is one event, however much it expands to, so memory and time grow with the
    length of the text only.

    Args:
        text: YAML text.
        parser: PyYAML loader that will load the text; loaders differ in what they accept.

    Raises:
        TooLargeError: If the text exceeds a limit; names the limit and the remedy.
        DuplicateKeyError: If a mapping has a key twice; names the key and both lines.
        yaml.YAMLError: If the text is not YAML.
    """
    if len(text) > MAX_YAML_BYTES:
        raise TooLargeError(_too_long(len(text), MAX_YAML_BYTES))
    if not _STRUCTURE.search(text):  # one value, as most flags are
        return
    # open_: for each open list or mapping its anchor, the count of values before it, and its levels.
    # anchors: for each finished anchor its number of values and levels.
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
    """Load a YAML text, within the limits.

    Args:
        text: YAML text.

    Returns:
        Its values, as from ``yaml.safe_load``.

    Raises:
        yaml.YAMLError: If the text is not YAML, has a key twice (`DuplicateKeyError`), or exceeds a limit
            (`TooLargeError`).
    """
    fast = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, ten times as fast
    try:
        return _load(text, fast)
    except (TooLargeError, DuplicateKeyError):
        raise
    except yaml.YAMLError:
        return _load(text, yaml.SafeLoader)  # for its message, which shows the line


def _load(text: str, loader: type[yaml.SafeLoader | yaml.CSafeLoader]) -> Any:
    check_yaml(text, loader)
    try:
        return yaml.load(text, Loader=loader)
    except ValueError as error:  # 5,000 digits or 2001-99-99: matches the pattern of a number or date, but is invalid
        raise yaml.YAMLError(f"{error}; put the value in quotes") from error


def read_yaml(path: Path) -> Any:
    """Read a user's YAML file.

    Args:
        path: File to read.

    Returns:
        Its values, as from ``yaml.safe_load``.

    Raises:
        ValueError: If the file cannot be read, is not YAML or exceeds a limit; names file and remedy.
    """
    try:
        return load_yaml(_text(path, str(path), MAX_YAML_BYTES, "check the path"))
    except (TooLargeError, DuplicateKeyError) as error:
        raise ValueError(f"{path}: {error}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid YAML ({' '.join(str(error).split())}); mend that line") from error


def read_json(path: Path, remedy: str, where: str = "", limit: int | None = None) -> Any:
    """Read a JSON file that a user may have edited.

    Args:
        path: File to read.
        remedy: End of the message if the file cannot be read: what to do.
        where: Beginning of the message; the path if empty.
        limit: Largest size in bytes; by default ``MAX_JSON_BYTES``.

    Returns:
        Its values, as from ``json.loads``.

    Raises:
        ValueError: If the file cannot be read, is too large or is not JSON; names file and remedy.
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

    Args:
        path: File to check.
        where: Beginning of the message.
        limit: Largest size, in bytes.

    Raises:
        ValueError: If the file is larger; names file, size and limit.
    """
    if (size := path.stat().st_size) > limit:
        raise ValueError(f"{where}: {_too_long(size, limit)}")


def check_text(path: Path, where: str) -> None:
    """Refuse a YAML file that is not text in UTF-8.

    Args:
        path: File to check.
        where: Beginning of the message.

    Raises:
        ValueError: If the file is too large, cannot be read, is not UTF-8 or has zero bytes; names the remedy.
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
"""Encodings by byte order mark. A longer mark comes before a mark that it begins with."""


def _too_long(size: int, limit: int) -> str:
    return f"{size:,} bytes, and {limit:,} are the limit; check that it is the right file, or split it"
