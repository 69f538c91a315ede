"""Source files, the unit of reading, and the choice of the reader of a file by its suffix."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from semalign_pl.data.reading.formats.account import Counts, LineCounter, Reader, account
from semalign_pl.data.reading.formats.archive import check_member, choose_member, list_members
from semalign_pl.data.reading.formats.cells import delimited_rows
from semalign_pl.data.reading.formats.convert import suggest_conversion
from semalign_pl.data.reading.formats.encodings import EncodedPath, is_unicode_text
from semalign_pl.data.reading.formats.json_document import json_file
from semalign_pl.data.reading.formats.json_rows import json_lines
from semalign_pl.data.reading.formats.pairs import split_braces
from semalign_pl.data.reading.formats.parquet import parquet
from semalign_pl.data.reading.formats.plain import paired_rows, plain_rows
from semalign_pl.data.reading.formats.quoting import Quoting
from semalign_pl.data.reading.formats.record import COMPRESSIONS, Item, Record, escape, stem_suffix
from semalign_pl.data.reading.formats.spreadsheet import spreadsheet
from semalign_pl.data.reading.formats.tmx import tmx

_TEXT = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".tmx")
_WHOLE = (".parquet", ".xlsx", ".zip")  # need random access: neither compressed nor in an archive
SUFFIXES = (*_TEXT, *_WHOLE)


@dataclass(frozen=True)
class SourceFile:
    """Unit of reading: a file, several files aligned line by line, or a split of a dataset.

    Attributes:
        name: Prefix of the ids of its rows.
        source: Name in messages.
        reader: Function that reads the wanted columns; it reads all columns if none is wanted or one is missing.
        header: True if the first line names the columns.
        plain: True for plain text: its only column gets the name of the wanted column.
        sparse: True if a row may lack a column that other rows have.
        files: Paths of the files whose content is read.
        revision: Function that returns a text for the cache key: everything else that the content depends on.
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
        """Read the rows, and check that every line became a row, a blank line or a header.

        Args:
            columns: Names of the wanted columns; empty for all text of the source, including that of a header line.
            counts: Line counts, filled while reading.

        Raises:
            ValueError: If the source cannot be read, or the reader lost a line.
        """
        counter = LineCounter()
        return account(self.source, self.reader(columns, counter), counter, Counts() if counts is None else counts)


def source_file(
    source: str,
    path: Path,
    name: str,
    split: str,
    quoting: Quoting | None = None,
    fragment: str = "",
    encoding: str | None = None,
) -> SourceFile:
    """Source file for a file, or for the member, sheet or list in it that a fragment names.

    Args:
        source: Name of the source as the user wrote it, for messages.
        path: Path of the file.
        name: Prefix of the ids of its rows.
        split: Name of the wanted split, for .json files with several.
        quoting: Quoting of .csv and .tsv files. If None, decided from the file.
        fragment: Name of a sheet of .xlsx, a key of a list in .json, or a member of .zip; empty for none.
        encoding: Encoding of a text file; UTF-8 if None, or UTF-16 if it begins with a byte-order mark.

    Raises:
        ValueError: If the file cannot be read; the message names the remedy.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError(
            f"{escape(source)}: not a file but a pipe or device, which cannot be read twice; write it to a file"
        )
    if path.suffix.lower() == ".zip":
        return _archive(path, name, split, quoting, fragment, encoding)
    return _read(path, name, split, quoting, fragment, (path,), encoding)


def _read(
    path: Path,
    name: str,
    split: str,
    quoting: Quoting | None,
    fragment: str,
    files: tuple[Path, ...],
    encoding: str | None,
) -> SourceFile:
    """Return the source file that reads a file on disk, or a text file in an archive."""
    suffix = stem_suffix(path)
    path = encode_path(path, encoding)
    if suffix == ".txt" and is_unicode_text(path):
        suffix = ".tsv"
    readers: dict[str, Reader] = {
        ".jsonl": lambda _, counter: json_lines(path, counter),
        ".json": partial(json_file, path, fragment, split),
        ".csv": partial(delimited_rows, path, ",", quoting),
        ".tsv": partial(delimited_rows, path, "\t", quoting),
        ".txt": partial(plain_rows, path),
        ".tmx": partial(tmx, path),
        ".parquet": partial(parquet, path),
        ".xlsx": partial(spreadsheet, path, fragment),
    }
    if suffix not in readers or (suffix in _WHOLE and (path.suffix.lower() != suffix or files != (path,))):
        raise _unknown_suffix_error(path, files[0] if files != (path,) else None)
    if fragment and suffix not in (".json", ".xlsx"):
        raise ValueError(
            f"{escape(path)}: # chooses a key of .json, sheet of .xlsx or file of .zip; leave out #{escape(fragment)}"
        )
    choice = [fragment, split if suffix == ".json" else "", encoding or ""]
    return SourceFile(
        name,
        f"{path}#{fragment}" if fragment else str(path),
        readers[suffix],
        header=suffix in (".csv", ".tsv", ".xlsx"),
        plain=suffix == ".txt",
        sparse=suffix == ".tmx",
        files=files,
        revision=lambda: "\n".join([suffix, *choice]) if any(choice) else suffix,
    )


def _unknown_suffix_error(path: Path, archive: Path | None) -> ValueError:
    suffixes = "".join(Path(path.name.rpartition("#")[2]).suffixes)
    unknown = f"{escape(path)}: unknown suffix {suffixes!r}"
    if archive:
        return ValueError(f"{unknown} in an archive, of which text is read; unzip {escape(archive)} and name the file")
    if stem_suffix(path) in _WHOLE:
        return ValueError(f"{unknown}; {stem_suffix(path)} has a compression of its own; decompress the file")
    if command := suggest_conversion(path):
        return ValueError(f"{unknown}, {command}")
    return ValueError(
        f"{unknown}; rename or convert it to one of {', '.join(SUFFIXES)} (text also with {', '.join(COMPRESSIONS)}), "
        "or pair plain files such as train.{zh,bo}"
    )


def encode_path(path: Path, encoding: str | None) -> Path:
    """Path of a file with the encoding that the user names for it, if any.

    Args:
        path: Path of a file, or of a member of an archive.
        encoding: Encoding; ``None`` for none.

    Raises:
        ValueError: If there is no such encoding, or the file is of a format that says its encoding itself.
    """
    if encoding is None:
        return path
    if (suffix := stem_suffix(path)) in (".tmx", *_WHOLE):
        raise ValueError(f"{escape(path)}: encoding is {encoding}, but {suffix} says its encoding itself; leave it out")
    return EncodedPath.of(path, encoding)


def _archive(
    path: Path, name: str, split: str, quoting: Quoting | None, fragment: str, encoding: str | None
) -> SourceFile:
    """Return the source file that reads a member of a zip archive, or several members aligned line by line."""
    member, _, inner = fragment.partition("#")
    if "{" in member:
        before, columns, after = split_braces(f"{path}#{member}", member)
        chosen: str | Mapping[str, str] = {column: f"{before}{column}{after}" for column in columns}
    else:
        chosen = member or choose_member(path, list_members(path), _TEXT)
    if isinstance(chosen, str):
        inside = Path(f"{path}#{chosen}")
        check_member(path, chosen)
        return _read(inside, name, split, quoting, inner, (path,), encoding)
    paths = {column: encode_path(Path(f"{path}#{one}"), encoding) for column, one in chosen.items()}
    for one in chosen.values():
        check_member(path, one)
    return paired_source_file(name, str(path), paths, (path,), "\n".join(["zip", encoding or "", *chosen.values()]))


def paired_source_file(
    name: str, source: str, paths: dict[str, Path], files: tuple[Path, ...], revision: str
) -> SourceFile:
    """Return the source file that reads files aligned line by line, each as one column.

    Args:
        name: Prefix of the ids of its rows.
        source: Name of the source, for messages.
        paths: Path of the file per column.
        files: Paths of the files on disk whose content is read.
        revision: Text for the cache key, in addition to the content of ``files``.
    """

    def read(_: set[str], counter: LineCounter) -> Iterator[Item]:
        return paired_rows(source, paths, counter)

    return SourceFile(name, source, read, files=files, revision=lambda: revision)
