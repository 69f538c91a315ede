"""What a source names: a file or a part of it, files of a pattern, pairs of files, a folder, or a hub dataset."""

from __future__ import annotations

import difflib
import glob
import itertools
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

from semalign_pl.data.formats.account import Counts, Intake, Reader, account
from semalign_pl.data.formats.archive import check_member, choose, members
from semalign_pl.data.formats.cells import separated
from semalign_pl.data.formats.compressed import split_fragment
from semalign_pl.data.formats.convert import conversion
from semalign_pl.data.formats.json_document import json_file
from semalign_pl.data.formats.json_rows import json_lines
from semalign_pl.data.formats.pairs import braces, matching
from semalign_pl.data.formats.plain import paired, plain
from semalign_pl.data.formats.quoting import Quoting
from semalign_pl.data.formats.record import COMPRESSIONS, Item, Record, shown, stem_suffix
from semalign_pl.data.formats.spreadsheet import spreadsheet
from semalign_pl.data.formats.tables import folder, hub, hub_revision, parquet, saved, saved_splits
from semalign_pl.data.formats.tmx import tmx

_TEXT = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".tmx")
_WHOLE = (".parquet", ".xlsx", ".zip")  # read by seeking in them: neither compressed nor in an archive
SUFFIXES = (*_TEXT, *_WHOLE)
_HUB_ID = re.compile(r"(?P<name>[\w-][\w.-]*/[\w.-]+)(:(?P<config>[\w.-]+))?(@(?P<split>[^@]+))?")


@dataclass(frozen=True)
class Part:
    """What is read in one go.

    Attributes:
        name: Of its rows' ids.
        source: In messages.
        reader: Reads the columns that are wanted, or all.
        header: Its first line names the columns.
        plain: Its one column has whatever name is wanted.
        sparse: A row may lack a column that others have.
        files: Whose content is read.
        revision: What else decides on the content.
    """

    name: str
    source: str
    reader: Reader
    header: bool = False
    plain: bool = False
    sparse: bool = False
    files: tuple[Path, ...] = ()
    revision: Callable[[], str] = str

    def read(self, columns: set[str], counts: Counts | None = None) -> Iterator[Record]:
        """Read its rows, and check that every line became a row, a blank line or a header.

        Args:
            columns: Columns that are wanted.
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
        return [_folder(source, path, None, split, None)]
    if path.exists():
        return [_file(source, path, path.name, split, quoting)]
    if path.is_symlink():
        target = shown(os.readlink(path))
        raise ValueError(
            f"{shown(source)}: a link to {target}, where nothing is; mend the link or name the file itself"
        )
    file, fragment = split_fragment(path)
    if fragment:
        return [_file(source, file, f"{file.name}#{fragment}", split, quoting, fragment)]
    if "{" in source or "}" in source:
        return _pairs(source, path)
    if chosen := _folder_split(str(path)):
        inside, config, its_split = chosen
        return [_folder(source, inside, config, its_split or split, its_split)]
    found = _HUB_ID.fullmatch(source)
    if found and stem_suffix(path) not in SUFFIXES and not path.parent.exists():
        dataset = (source, found["name"], found["config"], found["split"] or split)
        return [Part(path.name, source, partial(hub, *dataset), revision=partial(hub_revision, *dataset))]
    if glob.has_magic(source):
        return _pattern(source, path, split, quoting)
    raise _missing(source, path)


def _check_quoting(source: str, path: Path, quoting: str) -> None:
    if quoting not in get_args(Quoting):
        raise ValueError(f"{shown(source)}: quoting is {quoting!r}; give one of {', '.join(get_args(Quoting))}")
    if stem_suffix(path) not in (".csv", ".tsv", ".zip"):
        raise ValueError(f"{shown(source)}: quoting is {quoting}, but only .csv and .tsv have quoting; leave it out")


def _file(source: str, path: Path, name: str, split: str, quoting: Quoting | None = None, fragment: str = "") -> Part:
    """A file, or what a fragment chooses in it: a sheet, the key of a list, or a member of an archive."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(
            f"{shown(source)}: not a file but a pipe or device, which cannot be read twice; write it to a file"
        )
    suffix = stem_suffix(path)
    if path.suffix.lower() == ".zip":
        return _archive(path, name, split, quoting, fragment)
    if fragment and suffix not in (".json", ".xlsx"):
        raise ValueError(
            f"{shown(source)}: # chooses a key of .json, sheet of .xlsx or file of .zip; leave out #{shown(fragment)}"
        )
    return _read(path, name, split, quoting, fragment, (path,))


def _read(path: Path, name: str, split: str, quoting: Quoting | None, fragment: str, files: tuple[Path, ...]) -> Part:
    """A file on disk, or text in an archive."""
    suffix = stem_suffix(path)
    readers: dict[str, Reader] = {
        ".jsonl": lambda _, intake: json_lines(path, intake),
        ".json": partial(json_file, path, fragment, split),
        ".csv": partial(separated, path, ",", quoting),
        ".tsv": partial(separated, path, "\t", quoting),
        ".txt": partial(plain, path),
        ".tmx": partial(tmx, path),
        ".parquet": partial(parquet, path),
        ".xlsx": partial(spreadsheet, path, fragment),
    }
    if suffix not in readers or (suffix in _WHOLE and (path.suffix.lower() != suffix or files != (path,))):
        raise _unknown(path, files[0] if files != (path,) else None)
    choice = [fragment, split if suffix == ".json" else ""]
    return Part(
        name,
        f"{path}#{fragment}" if fragment else str(path),
        readers[suffix],
        header=suffix in (".csv", ".tsv", ".xlsx"),
        plain=suffix == ".txt",
        sparse=suffix == ".tmx",
        files=files,
        revision=lambda: "\n".join([suffix, *choice]) if any(choice) else suffix,
    )


def _unknown(path: Path, archive: Path | None) -> ValueError:
    suffixes = "".join(Path(path.name.rpartition("#")[2]).suffixes)
    unknown = f"{shown(path)}: unknown suffix {suffixes!r}"
    if archive:
        return ValueError(f"{unknown} in an archive, of which text is read; unzip {shown(archive)} and name the file")
    if stem_suffix(path) in _WHOLE:
        return ValueError(f"{unknown}; {stem_suffix(path)} has a compression of its own; decompress the file")
    if command := conversion(path):
        return ValueError(f"{unknown}, {command}")
    return ValueError(
        f"{unknown}; rename or convert it to one of {', '.join(SUFFIXES)} (text also with {', '.join(COMPRESSIONS)}), "
        "or pair plain files such as train.{zh,bo}"
    )


def _archive(path: Path, name: str, split: str, quoting: Quoting | None, fragment: str) -> Part:
    """A member of a zip archive, or two that are aligned line by line."""
    member, _, inner = fragment.partition("#")
    if "{" in member:
        before, columns, after = braces(f"{path}#{member}", member)
        chosen: Any = {column: f"{before}{column}{after}" for column in columns}
    else:
        chosen = member or choose(path, members(path), _TEXT)
    if isinstance(chosen, str):
        inside = Path(f"{path}#{chosen}")
        check_member(path, chosen)
        return _read(inside, name, split, quoting, inner, (path,))
    paths = {column: Path(f"{path}#{one}") for column, one in chosen.items()}
    for one in chosen.values():
        check_member(path, one)
    return _paired(name, str(path), paths, (path,), "\n".join(["zip", *chosen.values()]))


def _paired(name: str, source: str, paths: dict[str, Path], files: tuple[Path, ...], revision: str) -> Part:
    def read(_: set[str], intake: Intake) -> Iterator[Item]:
        return paired(source, paths, intake)

    return Part(name, source, read, files=files, revision=lambda: revision)


def _pairs(source: str, path: Path) -> list[Part]:
    """Files such as ``train.{zh,bo}``, which a shell would take for ``train.zh train.bo``, or a pattern of such."""
    before, columns, after = braces(source, str(path))
    if glob.has_magic(before + after):
        pairs = matching(source, before, columns, after)
        root = Path(*itertools.takewhile(lambda step: not glob.has_magic(step) and "{" not in step, path.parts))
    else:
        pairs = {str(path): {column: Path(f"{before}{column}{after}") for column in columns}}
        root = path.parent
    for files in pairs.values():
        for file in files.values():
            _check_text(source, file)
    return [
        _paired(
            Path(name).relative_to(root).as_posix(),
            source if len(pairs) == 1 else name,
            files,
            tuple(files.values()),
            ".txt",
        )
        for name, files in pairs.items()
    ]


def _check_text(source: str, path: Path) -> None:
    if stem_suffix(path) in SUFFIXES and stem_suffix(path) != ".txt":
        raise ValueError(
            f"{shown(source)}: braces pair plain text files; several {stem_suffix(path)} files need a pattern with *"
        )
    if not path.exists():
        raise _missing(str(path), path)
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{shown(path)}: not a file; give one text a line")


def _folder_split(text: str) -> tuple[Path, str | None, str | None] | None:
    """The folder, configuration and split of ``folder:config@split``."""
    name, _, split = text.rpartition("@")
    for folder_and_config, its_split in ((text, None), (name, split)):
        inside, _, config = folder_and_config.rpartition(":")
        for one, its_config in ((folder_and_config, None), (inside, config or ":")):
            if its_split != "" and re.fullmatch(r"[\w.-]+", its_config or "default") and os.path.isdir(one):
                return Path(one), its_config, its_split
    return None


def _folder(source: str, path: Path, config: str | None, split: str, named: str | None) -> Part:
    """A folder laid out like a hub dataset, or written by ``save_to_disk``."""
    inside = saved_splits(path, config, split, named)
    root = inside or path
    files = tuple(sorted(file for file in root.rglob("*") if file.is_file()))
    names = "\n".join([config or "", split, *(str(file.relative_to(path)) for file in files)])
    reader = partial(saved, inside) if inside else partial(folder, path, config, split)
    return Part(Path(source).name, source, reader, files=files, revision=lambda: names)


def _pattern(source: str, path: Path, split: str, quoting: Quoting | None) -> list[Part]:
    files = [Path(file) for file in sorted(glob.glob(str(path))) if not os.path.isdir(file)]
    if not files:
        raise ValueError(f"{shown(source)}: no file matches; paths start where you run from")
    root = Path(*itertools.takewhile(lambda step: not glob.has_magic(step), path.parts))
    return [_file(str(file), file, file.relative_to(root).as_posix(), split, quoting) for file in files]


def _missing(source: str, path: Path) -> ValueError:
    if not path.parent.is_dir():
        return ValueError(
            f"{shown(source)}: no such file, nor is there a folder {shown(path.parent)}; paths start where you run from"
        )
    neighbours = sorted(entry.name for entry in path.parent.iterdir())
    near = difflib.get_close_matches(path.name, neighbours, n=3) or neighbours[:5]
    there = f"did you mean {shown(' or '.join(near))}?" if near else "the folder is empty"
    return ValueError(f"{shown(source)}: no such file in {shown(path.parent.absolute())}; {there}")
