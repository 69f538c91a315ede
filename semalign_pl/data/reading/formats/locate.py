"""Lookup of what a source's name refers to: files, pairs of files, folders and hub datasets."""

from __future__ import annotations

import difflib
import glob
import itertools
import os
import re
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import get_args

from semalign_pl.data.reading.formats.account import LineCounter
from semalign_pl.data.reading.formats.compressed import split_fragment
from semalign_pl.data.reading.formats.hub_datasets import folder, hub, hub_revision, saved_folder, saved_split
from semalign_pl.data.reading.formats.joined_configs import JoinedName, joined_rows, parse_joined
from semalign_pl.data.reading.formats.pairs import match_pairs, split_braces
from semalign_pl.data.reading.formats.quoting import Quoting
from semalign_pl.data.reading.formats.record import Item, escape, stem_suffix
from semalign_pl.data.reading.formats.source_file import (
    SUFFIXES,
    SourceFile,
    encode_path,
    paired_source_file,
    source_file,
)
from semalign_pl.files.example_folders import remedy

_HUB_ID = re.compile(r"(?P<name>[\w-][\w.-]*/[\w.-]+)(:(?P<config>[\w.-]+))?(@(?P<split>[^@]+))?")


def find_source_files(
    source: str, split: str, quoting: Quoting | None = None, encoding: str | None = None
) -> list[SourceFile]:
    """Find the source files that the name of a source refers to, in order.

    Args:
        source: Name of the source, as in `sources.stream`.
        split: Name of the split of a hub dataset, folder or .json file, if ``source`` names none.
        quoting: Quoting of .csv and .tsv files, as in `cells.delimited_rows`.
        encoding: Encoding of text files, as in `source_file.source_file`.

    Raises:
        ValueError: If ``source`` refers to nothing that can be read.
    """
    try:
        path = Path(source).expanduser()
    except RuntimeError as error:
        raise ValueError(f"{escape(source)}: no such user; write the path out") from error
    if not source.strip():
        raise ValueError("an empty name where a corpus is wanted; name a file or a hub dataset")
    if quoting is not None:
        _check_quoting(source, path, quoting)
    if path.is_dir():
        _check_no_encoding(source, encoding)
        return [_folder(source, path, None, split, None)]
    if path.exists():
        return [source_file(source, path, path.name, split, quoting, encoding=encoding)]
    if path.is_symlink():
        target = escape(os.readlink(path))
        raise ValueError(
            f"{escape(source)}: a link to {target}, where nothing is; mend the link or name the file itself"
        )
    file, fragment = split_fragment(path)
    if fragment:
        return [source_file(source, file, f"{file.name}#{fragment}", split, quoting, fragment, encoding)]
    if joined := parse_joined(source):
        _check_no_encoding(source, encoding)
        return [_join_configs(source, joined, joined.split or split)]
    if "{" in source or "}" in source:
        return _pairs(source, path, encoding)
    if chosen := _folder_split(str(path)):
        _check_no_encoding(source, encoding)
        inside, config, its_split = chosen
        return [_folder(source, inside, config, its_split or split, its_split)]
    match = _HUB_ID.fullmatch(source)
    if match and stem_suffix(path) not in SUFFIXES and not path.parent.exists():
        _check_no_encoding(source, encoding)
        dataset = (source, match["name"], match["config"], match["split"] or split)
        return [SourceFile(path.name, source, partial(hub, *dataset), revision=partial(hub_revision, *dataset))]
    if glob.has_magic(source):
        return _pattern(source, path, split, quoting, encoding)
    raise _missing_error(source, path)


def _check_quoting(source: str, path: Path, quoting: str) -> None:
    if quoting not in get_args(Quoting):
        raise ValueError(f"{escape(source)}: quoting is {quoting!r}; give one of {', '.join(get_args(Quoting))}")
    if stem_suffix(path) not in (".csv", ".tsv", ".zip"):
        raise ValueError(f"{escape(source)}: quoting is {quoting}, but only .csv and .tsv have quoting; leave it out")


def hub_name(source: str) -> str | None:
    """Name ``owner/name`` of a hub dataset; ``None`` if a source has another form.

    Args:
        source: Name of the source, as the user wrote it.
    """
    match = _HUB_ID.fullmatch(source)
    return match["name"] if match else None


def _join_configs(source: str, joined: JoinedName, split: str) -> SourceFile:
    """Return the configurations of a hub dataset or folder, joined by id, as a source file."""
    path = Path(joined.name).expanduser()
    if path.is_dir():
        files = tuple(sorted(file for file in path.rglob("*") if file.is_file()))
        revision = lambda: "\n".join([source, split, *(str(file.relative_to(path)) for file in files)])  # noqa: E731
    elif hub_name(joined.name):
        files = ()
        revision = lambda: "\n".join(hub_revision(source, joined.name, one, split) for one in joined.configs)  # noqa: E731
    else:
        raise ValueError(
            f"{escape(source)}: {escape(joined.name)} is no folder and no hub dataset owner/name; name one"
        )

    def read_config(config: str, counter: LineCounter) -> Iterator[Item]:
        if path.is_dir():
            return folder(path, config, split, set(), counter)
        return hub(source, joined.name, config, split, set(), counter)

    def read(_: set[str], counter: LineCounter) -> Iterator[Item]:
        return joined_rows(source, joined.configs, read_config, counter)

    return SourceFile(path.name, source, read, files=files, revision=revision)


def _check_no_encoding(source: str, encoding: str | None) -> None:
    if encoding is not None:
        raise ValueError(f"{escape(source)}: encoding is {encoding}, but only text files have one; leave it out")


def _pairs(source: str, path: Path, encoding: str | None) -> list[SourceFile]:
    """Find the pairs of files of a name with braces, such as ``train.{zh,bo}`` or ``*-{zh,bo}.txt``."""
    before, columns, after = split_braces(source, str(path))
    if glob.has_magic(before + after):
        pairs = match_pairs(source, before, columns, after)
        root = Path(*itertools.takewhile(lambda step: not glob.has_magic(step) and "{" not in step, path.parts))
    else:
        pairs = {str(path): {column: Path(f"{before}{column}{after}") for column in columns}}
        root = path.parent
    for files in pairs.values():
        for file in files.values():
            _check_text(source, file)
    return [
        paired_source_file(
            Path(name).relative_to(root).as_posix(),
            source if len(pairs) == 1 else name,
            {column: encode_path(file, encoding) for column, file in files.items()},
            tuple(files.values()),
            f".txt\n{encoding}" if encoding else ".txt",
        )
        for name, files in pairs.items()
    ]


def _check_text(source: str, path: Path) -> None:
    if stem_suffix(path) in SUFFIXES and stem_suffix(path) != ".txt":
        raise ValueError(
            f"{escape(source)}: braces pair plain text files; several {stem_suffix(path)} files need a pattern with *"
        )
    if not path.exists():
        raise _missing_error(str(path), path)
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(f"{escape(path)}: not a file; give one text per line")


def _folder_split(text: str) -> tuple[Path, str | None, str | None] | None:
    """Split ``folder:config@split`` into folder, configuration and split; None if there is no such folder."""
    name, _, split = text.rpartition("@")
    for folder_and_config, its_split in ((text, None), (name, split)):
        inside, _, config = folder_and_config.rpartition(":")
        for one, its_config in ((folder_and_config, None), (inside, config or ":")):
            if its_split != "" and re.fullmatch(r"[\w.-]+", its_config or "default") and os.path.isdir(one):
                return Path(one), its_config, its_split
    return None


def _folder(source: str, path: Path, config: str | None, split: str, named: str | None) -> SourceFile:
    """Return a folder with the layout of a hub dataset, or one written by ``save_to_disk``, as a source file."""
    inside = saved_split(path, config, split, named)
    root = inside or path
    files = tuple(sorted(file for file in root.rglob("*") if file.is_file()))
    names = "\n".join([config or "", split, *(str(file.relative_to(path)) for file in files)])
    reader = partial(saved_folder, inside) if inside else partial(folder, path, config, split)
    return SourceFile(Path(source).name, source, reader, files=files, revision=lambda: names)


def _pattern(source: str, path: Path, split: str, quoting: Quoting | None, encoding: str | None) -> list[SourceFile]:
    files = [Path(file) for file in sorted(glob.glob(str(path))) if not os.path.isdir(file)]
    if not files:
        raise ValueError(f"{escape(source)}: no file matches; paths start where you run from")
    root = Path(*itertools.takewhile(lambda step: not glob.has_magic(step), path.parts))
    names = [file.relative_to(root).as_posix() for file in files]
    return [
        source_file(str(file), file, name, split, quoting, encoding=encoding)
        for file, name in zip(files, names, strict=True)
    ]


def _missing_error(source: str, path: Path) -> ValueError:
    if not path.parent.is_dir():
        return ValueError(
            f"{escape(source)}: no such file, nor is there a folder {escape(path.parent)}; paths start "
            f"where you run from{remedy(path)}"
        )
    neighbours = sorted(entry.name for entry in path.parent.iterdir() if not entry.name.startswith("."))
    similar = difflib.get_close_matches(path.name, neighbours, n=3) or neighbours[:5]
    hint = f"did you mean {escape(' or '.join(similar))}?" if similar else "the folder is empty"
    return ValueError(f"{escape(source)}: no such file in {escape(path.parent.absolute())}; {hint}{remedy(path)}")
