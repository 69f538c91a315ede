"""Text files as streams of lines, for files and lines of any length."""

from __future__ import annotations

import codecs
import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

from semalign_pl.data.reading.formats.account import LineCounter
from semalign_pl.data.reading.formats.encodings import encoding_of, open_utf8
from semalign_pl.data.reading.formats.record import MAX_LINE, BadRow, bad_row, escape, quote

_HEAD = 1 << 16
_NO_TEXT = {
    b"\x1f\x8b": "zipped by gzip; end its name in .gz, once for each time that it was zipped, or unzip it",
    b"PK\x03\x04": "a zip archive (or a spreadsheet); end its name in .zip (or .xlsx), or save it as .csv",
    b"BZh": "zipped by bzip2; end its name in .bz2, or unzip it",
    b"\xfd7zXZ": "zipped by xz; end its name in .xz, or unzip it",
    b"\x28\xb5\x2f\xfd": "zipped by zstd; end its name in .zst, or unzip it",
    b"PAR1": "a Parquet file; end its name in .parquet",
    b"%PDF": "a PDF file; end its name in .pdf to be told how to convert it",
    b"\xd0\xcf\x11\xe0": "an old or encrypted Office file; save it as .xlsx or .csv without a password",
    b"SQLite format 3\0": "an SQLite database; end its name in .sqlite to be told how to convert it",
    b"ARROW1": "an Arrow file; end its name in .feather to be told how to convert it",
}
_MARKS = {  # longest first: UTF-32LE's mark starts with that of UTF-16LE
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_head(path: Path, file: io.BufferedReader) -> bytes:
    """Return the first bytes of UTF-8 text, and move the file past its byte-order mark.

    Args:
        path: Path of the file, for messages.
        file: Open file, at its start.

    Returns:
        Up to 64 KiB after the byte-order mark.

    Raises:
        ValueError: If the file is not UTF-8 text with line feeds.
    """
    head = file.peek(_HEAD)[:_HEAD]
    for magic, fault in _NO_TEXT.items():
        if head.startswith(magic):
            raise ValueError(f"{escape(path)}: not text but {fault}")
    if encoding := _wide(head):
        raise ValueError(
            f"{escape(path)}:1: not UTF-8 but {encoding}; convert it: iconv -f {encoding} -t UTF-8, or save it as UTF-8"
        )
    if b"\n" not in head and re.search(rb"\r[^\r]", head):
        raise ValueError(f"{escape(path)}:1: its lines end in CR alone; convert it: tr '\\r' '\\n'")
    if head.startswith(codecs.BOM_UTF8):
        file.read(len(codecs.BOM_UTF8))
    return head.removeprefix(codecs.BOM_UTF8)


def _wide(head: bytes) -> str | None:
    """Guess the encoding of UTF-16 or UTF-32 text by its byte-order mark or else its NULs; None for other text."""
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    if head.count(0) < 2:
        return None
    if head.count(0) < len(head) / 4:
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head)
            return None  # UTF-8 with some NULs in it
        except UnicodeDecodeError:
            pass
    found: dict[int, str] = {}
    for name in ("UTF-32LE", "UTF-32BE", "UTF-16LE", "UTF-16BE"):
        with contextlib.suppress(UnicodeDecodeError):
            text = codecs.getincrementaldecoder(name)().decode(head)
            if not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", text):
                found[sum(character.isascii() for character in text)] = name
    return found[max(found)] if found else None


def raw_lines(path: Path, counter: LineCounter) -> Iterator[tuple[int, bytes | BadRow]]:
    """Yield numbered lines with their line ends, without a byte-order mark; a line over ``MAX_LINE`` is a bad row.

    Args:
        path: Path of the file.
        counter: Number of lines read, updated while reading.
    """
    with open_utf8(path) as file:
        read_head(path, file)
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            counter.lines += 1
            if len(line) < MAX_LINE or line.endswith(b"\n"):
                yield number, line
                continue
            while (more := file.readline(MAX_LINE)) and not more.endswith(b"\n"):
                pass
            fault = f"a line of more than {MAX_LINE:,} bytes; a line break got lost: split it, or drop it"
            yield number, bad_row(path, number, fault, line)


def lines(path: Path, counter: LineCounter) -> Iterator[tuple[int, str | BadRow]]:
    """Yield the numbered lines of `raw_lines` as text; a line that is not UTF-8 is a bad row."""
    for number, line in raw_lines(path, counter):
        if isinstance(line, bytes):
            try:
                yield number, line.decode()
            except UnicodeDecodeError as error:
                yield number, not_utf8(path, number, line, error)
        else:
            yield number, line


def text_lines(path: Path, counter: LineCounter) -> Iterator[tuple[int, str | BadRow]]:
    """Yield numbered lines as text without their line ends; a line with a CR inside is a bad row."""
    for number, line in lines(path, counter):
        if isinstance(line, str):
            line = line.removesuffix("\n").removesuffix("\r")
            if "\r" in line:
                fault = f"a CR inside the line: {quote(line)}; a line must end in LF or CR LF"
                line = bad_row(path, number, fault, line)
        yield number, line


def not_utf8(path: Path, number: int, line: bytes, error: UnicodeDecodeError) -> BadRow:
    """Bad row of a line that cannot be decoded.

    Args:
        path: Path of the file, for the message.
        number: Number of the line.
        line: Bytes of the line.
        error: Error of decoding them.
    """
    fault = (
        f"not {encoding_of(path) or 'UTF-8'} (byte 0x{line[error.start]:02x}); name its encoding in the recipe, e.g. "
        f"{{path: {escape(path.name)}, encoding: gb18030}}, or convert the file: iconv -f <its encoding> -t UTF-8"
    )
    return bad_row(path, number, fault, line)
