"""Decompressed bytes of a file or of one member of a zip archive, with limits on their number."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, cast

from semalign_pl.data.reading.formats.record import error_line, escape

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

FREE = 100_000_000
"""Number of bytes that any file may decompress to."""
RATIO = 1_000
"""Maximum number of decompressed bytes per byte read from disk, for files over ``FREE``.

Zeros have a ratio of 1,030 (gzip) to 30,000 (zstd). Real rows that all begin with the same prompt have 510 for a prompt
of 100,000 characters (xz), and 190 for one of 20,000 characters.
"""
FREE_RECORDS = 1_000_000
"""Number of line feeds, ``{`` and ``<`` that any file may contain."""
RECORDS = 10
"""Maximum number of these characters per byte read from disk, for files over ``FREE_RECORDS``.

Each of them begins a row, which takes a microsecond or more even if it is blank: 100 MB of line feeds take minutes. A
row of text takes ten bytes or more, and contains up to fifteen of these characters.
"""
_XZ_MEMORY = 1 << 28
"""Maximum number of bytes of memory for decompressing an xz file; files of ``xz -9`` need 65 MiB."""
_CHUNK = 1 << 16
_BUFFER = 1 << 17


class _Readable(Protocol):
    """Stream that fills a buffer."""

    def readinto(self, buffer: WriteableBuffer, /) -> int | None: ...


class _Streams(io.RawIOBase):
    """Concatenated bzip2 or xz streams. ``bz2.open`` and ``lzma.open`` would ignore other data after a stream."""

    def __init__(self, file: io.RawIOBase, start: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]) -> None:
        self.file, self.start = file, start
        self.decoder: bz2.BZ2Decompressor | lzma.LZMADecompressor | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        while True:
            if self.decoder is None or self.decoder.eof:
                # The end of a stream may be padded with zeros.
                data = (self.decoder.unused_data if self.decoder else b"").lstrip(b"\0")
                data = data or (self.file.read(_CHUNK) or b"").lstrip(b"\0")
                if not data:
                    return 0
                self.decoder = self.start()
            elif self.decoder.needs_input:
                data = self.file.read(_CHUNK) or b""
                if not data:
                    raise EOFError("it ends in the middle")
            else:
                data = b""
            if out := self.decoder.decompress(data, len(view)):
                view[: len(out)] = out
                return len(out)


def _xz(file: io.RawIOBase) -> _Readable:
    return _Streams(file, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY))


def _zstd(file: io.RawIOBase) -> _Readable:
    from pyarrow import CompressedInputStream

    return CompressedInputStream(file, "zstd")


_CODECS: dict[str, tuple[str, str, Callable[[io.RawIOBase], _Readable]]] = {
    ".gz": ("gzip", "gunzip", lambda file: gzip.GzipFile(fileobj=cast(IO[bytes], file))),
    ".bz2": ("bzip2", "bunzip2", lambda file: _Streams(file, bz2.BZ2Decompressor)),
    ".xz": ("xz", "unxz", _xz),
    ".zst": ("zstd", "unzstd", _zstd),
}


@contextlib.contextmanager
def open_bytes(path: Path) -> Iterator[io.BufferedReader]:
    """Open a file for reading bytes, decompressed with one codec of `_CODECS` per suffix.

    Args:
        path: Path of the file, or of a member of an archive: ``corpus.zip#train.tsv``. Members are not written to disk.

    Raises:
        ValueError: If the file is truncated, damaged or encrypted, or if it decompresses to too much: more than `FREE`
            bytes and more than `RATIO` times the bytes read so far, or more than `FREE_RECORDS` lines, objects or tags
            and more than `RECORDS` per byte read so far.
    """
    file, member = split_fragment(path)
    with contextlib.ExitStack() as stack:
        disk = stack.enter_context(file.open("rb", buffering=0))
        stream: io.RawIOBase = disk
        if member:
            archive = stack.enter_context(open_archive(file, disk))
            info = find_member(file, archive, member)
            with _translate_errors(file, "zip", "unzip"):
                content = stack.enter_context(archive.open(info))
            used = lambda: disk.tell() - info.header_offset  # noqa: E731
            stream = _BoundedStream(path, "zip", f"unzip {escape(file)}", cast(_Readable, content), used)
        name = path.name.lower()
        while codec := _CODECS.get(os.path.splitext(name)[1]):
            name = os.path.splitext(name)[0]
            kind, command, decompress = codec
            stream = _BoundedStream(path, kind, f"{command} {escape(file)}", decompress(stream), disk.tell)
        yield io.BufferedReader(stream, _BUFFER)


class _BoundedStream(io.RawIOBase):
    """Decompressed stream of bounded size. Every read but the last fills its buffer."""

    def __init__(self, path: Path, kind: str, command: str, stream: _Readable, used: Callable[[], int]) -> None:
        self.path, self.kind, self.command, self.stream, self.used = path, kind, command, stream, used
        self.total = self.records = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view, filled = memoryview(buffer), 0
        with _translate_errors(self.path, self.kind, self.command):
            while filled < len(view) and (count := self.stream.readinto(view[filled:])):
                filled += count
        self.total += filled
        data = bytes(view[:filled])
        self.records += sum(data.count(sign) for sign in (b"\n", b"{", b"<"))
        if self.records > max(FREE_RECORDS, RECORDS * self.used()):
            raise ValueError(
                f"{escape(self.path)}: decompresses to more than {RECORDS:,} lines, objects or tags per byte (beyond "
                f"the first {FREE_RECORDS:,}), as no text does; if it is right, decompress it first: {self.command}"
            )
        if self.total > max(FREE, RATIO * self.used()):
            raise ValueError(
                f"{escape(self.path)}: decompresses to more than {RATIO:,} times its size (beyond the first "
                f"{FREE // 10**6} MB), as no text does; if it is right, decompress it first: {self.command}"
            )
        return filled


@contextlib.contextmanager
def _translate_errors(path: Path, kind: str, command: str) -> Iterator[None]:
    """Translate a library's error about damaged data to a ValueError of one line."""
    try:
        yield
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # an error of the disk, not of the data
            raise
        raise ValueError(
            f"{escape(path)}: not a whole {kind} file ({error_line(error)}); try {command}, or zip it again"
        ) from error


def open_archive(path: Path, file: IO[bytes]) -> zipfile.ZipFile:
    """Open a zip archive and read its directory.

    Args:
        path: Path of the archive, for messages.
        file: Open file of the archive.

    Raises:
        ValueError: If the file is not a zip archive, or is damaged.
    """
    with _translate_errors(path, "zip", f"unzip {escape(path)}"):
        return zipfile.ZipFile(file)


def find_member(path: Path, archive: zipfile.ZipFile, member: str) -> zipfile.ZipInfo:
    """Return the only member of a name.

    Args:
        path: Path of the archive, for messages.
        archive: Open archive.
        member: Name of the member.

    Raises:
        ValueError: If there is no such member, or more than one, or it is encrypted.
    """
    # `Path` merges doubled slashes, so both names are compared as paths.
    members = [info for info in archive.infolist() if Path(f"#{info.filename}") == Path(f"#{member}")]
    if len(members) != 1:
        raise ValueError(
            f"{escape(path)}: {len(members) or 'no'} members are called {member!r}; name one that is there"
        )
    if members[0].flag_bits & 1:
        raise ValueError(f"{escape(path)}: {escape(member)} is encrypted; unzip it with its password")
    return members[0]


def split_fragment(source: object) -> tuple[Path, str]:
    """Split ``a.zip#b.tsv`` into the file ``a.zip`` and the fragment ``b.tsv``.

    Args:
        source: Name of a source.

    Returns:
        Path of an existing file that is followed by ``#``, and the text after it. If there is none, or if a file has
        the whole name, the whole path and an empty text.
    """
    text = str(source)
    if not os.path.lexists(text):
        for place, sign in enumerate(text):
            if sign == "#" and os.path.isfile(text[:place]):
                return Path(text[:place]), text[place + 1 :]
    return Path(text), ""
