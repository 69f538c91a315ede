"""What a source names: a file, files of a pattern, a pair of files, a folder, or a hub dataset."""

from __future__ import annotations

import difflib
import glob
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

from semalign_pl.data.formats.account import Counts, Intake, Reader, account
from semalign_pl.data.formats.cells import separated
from semalign_pl.data.formats.json_rows import json_file, json_lines
from semalign_pl.data.formats.plain import paired, plain
from semalign_pl.data.formats.quoting import Quoting
from semalign_pl.data.formats.record import Record, shown, stem_suffix
from semalign_pl.data.formats.tables import folder, hub, hub_revision, parquet
from semalign_pl.data.formats.tmx import tmx

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".tmx", ".parquet")
_HUB_ID = re.compile(r"(?P<name>[\w-][\w.-]*/[\w.-]+)(:(?P<config>[\w.-]+))?(@(?P<split>[^@]+))?")


@dataclass(frozen=True)
class Part:
    """What is read in one go.

    Attributes:
        name: Of its rows' ids.
        source: In messages.
        reader: Reads the columns that are wanted; all where none is, or one that it does not have.
        header: Its first line names the columns.
        sparse: A row may lack a column that others have.
        files: Whose content is read.
        revision: What else decides on the content.
    """

    name: str
    source: str
    reader: Reader
    header: bool = False
    sparse: bool = False
    files: tuple[Path, ...] = ()
    revision: Callable[[], str] = str

    def read(self, columns: set[str], counts: Counts | None = None) -> Iterator[Record]:
        """Read its rows, and check that every line became a row, a blank line or a header.

        Args:
            columns: Columns that are wanted; none for every text of the source, that of a header line, too.
            counts: Filled while reading.
        """
        intake = Intake()
        return account(self.source, self.reader(columns, intake), intake, Counts() if counts is None else counts)


def parts(source: str, split: str, quoting: Quoting | None = None) -> list[Part]:
    """What ``source`` names, in order.

    Args:
        source: See `sources.stream`.
        split: Split of a hub dataset or folder, where ``source`` names none.
        quoting: Quoting of .csv and .tsv files, see `cells.separated`.

    Raises:
        ValueError: It names nothing that can be read.
    """
    try:
        path = Path(source).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{shown(source)}: no such user; write the path out") from error
    if not source.strip():
        raise ValueError("an empty name where a corpus is wanted; name a file or a hub dataset")
    if quoting is not None:
        _check_quoting(source, path, quoting)
    if path.is_dir():
        files = tuple(sorted(file for file in path.rglob("*") if file.is_file()))
        names = "\n".join([split, *(str(file.relative_to(path)) for file in files)])
        return [Part(path.name, source, partial(folder, path, split), files=files, revision=lambda: names)]
    if path.exists():
        return [_file(source, path, path.name, quoting)]
    if path.is_symlink():
        target = shown(os.readlink(path))
        raise ValueError(
            f"{shown(source)}: a link to {target}, where nothing is; mend the link or name the file itself"
        )
    if "{" in source or "}" in source:
        return [_pair(source, path)]
    found = _HUB_ID.fullmatch(source)
    if found and stem_suffix(path) not in SUFFIXES and not path.parent.exists():
        dataset = (source, found["name"], found["config"], found["split"] or split)
        return [Part(path.name, source, partial(hub, *dataset), revision=partial(hub_revision, *dataset))]
    if glob.has_magic(source):
        return _pattern(source, path, quoting)
    raise _missing(source, path)


def _check_quoting(source: str, path: Path, quoting: str) -> None:
    if quoting not in get_args(Quoting):
        raise ValueError(f"{shown(source)}: quoting is {quoting!r}; give one of {', '.join(get_args(Quoting))}")
    if stem_suffix(path) not in (".csv", ".tsv"):
        raise ValueError(f"{shown(source)}: quoting is {quoting}, but only .csv and .tsv have quoting; leave it out")


def _file(source: str, path: Path, name: str, quoting: Quoting | None = None) -> Part:
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(
            f"{shown(source)}: not a file but a pipe or device, which cannot be read twice; write it to a file"
        )
    suffix = stem_suffix(path)
    readers: dict[str, Reader] = {
        ".jsonl": lambda _, intake: json_lines(path, intake),
        ".json": lambda _, intake: json_file(path, intake),
        ".csv": partial(separated, path, ",", quoting),
        ".tsv": partial(separated, path, "\t", quoting),
        ".txt": partial(plain, path),
        ".tmx": partial(tmx, path),
    }
    if path.suffix.lower() == ".parquet":
        readers[suffix] = partial(parquet, path)
    if suffix not in readers:
        raise ValueError(
            f"{shown(source)}: unknown suffix {''.join(path.suffixes)!r}; rename or convert it to one of "
            f"{', '.join(SUFFIXES)} (text also with .gz), or pair plain files such as train.{{zh,bo}}"
        )
    return Part(name, str(path), readers[suffix], suffix in (".csv", ".tsv"), suffix == ".tmx", (path,), lambda: suffix)


def _pair(source: str, path: Path) -> Part:
    """Files such as ``train.{zh,bo}``, which a shell would take for ``train.zh train.bo``."""
    braces = re.fullmatch(r"([^{}]*)\{([^{}]*)\}([^{}]*)", str(path), re.S)
    items = [item.strip() for item in braces[2].split(",")] if braces else []
    if not braces or len(items) < 2 or "" in items or len(set(items)) < len(items):
        raise ValueError(f"{shown(source)}: braces name the files of a pair, once each; write e.g. train.{{zh,bo}}")
    paths = {item: Path(f"{braces[1]}{item}{braces[3]}") for item in items}
    for one in paths.values():
        if stem_suffix(one) in SUFFIXES and stem_suffix(one) != ".txt":
            raise ValueError(
                f"{shown(source)}: braces pair plain text files; several {stem_suffix(one)} files need a pattern with *"
            )
        if not one.exists():
            raise _missing(str(one), one)
        if not stat.S_ISREG(one.stat().st_mode):
            raise ValueError(f"{shown(one)}: not a file; give one text a line")
    files = tuple(paths.values())
    return Part(
        path.name, source, lambda _, intake: paired(source, paths, intake), files=files, revision=lambda: ".txt"
    )


def _pattern(source: str, path: Path, quoting: Quoting | None) -> list[Part]:
    files = [Path(file) for file in sorted(glob.glob(str(path))) if not os.path.isdir(file)]
    if not files:
        raise ValueError(f"{shown(source)}: no file matches; paths start where you run from")
    steps = path.parts
    root = Path(*steps[: next(i for i, step in enumerate(steps) if glob.has_magic(step))])
    return [_file(str(file), file, file.relative_to(root).as_posix(), quoting) for file in files]


def _missing(source: str, path: Path) -> ValueError:
    if not path.parent.is_dir():
        return ValueError(
            f"{shown(source)}: no such file, nor is there a folder {shown(path.parent)}; paths start where you run from"
        )
    neighbours = sorted(entry.name for entry in path.parent.iterdir())
    near = difflib.get_close_matches(path.name, neighbours, n=3) or neighbours[:5]
    there = f"did you mean {shown(' or '.join(near))}?" if near else "the folder is empty"
    return ValueError(f"{shown(source)}: no such file in {shown(path.parent.absolute())}; {there}")
