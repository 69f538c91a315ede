"""Text files in other encodings, read as UTF-8: UTF-16 by its byte-order mark, others as the user names them."""

from __future__ import annotations

import codecs
import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.data.reading.formats.compressed import open_bytes
from semalign_pl.data.reading.formats.record import escape

if sys.platform == "win32":
    from pathlib import WindowsPath as _Path
else:
    from pathlib import PosixPath as _Path

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_CHUNK = 1 << 16
_UTF32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)  # tested first: UTF-32LE's mark begins with that of UTF-16LE
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class EncodedPath(_Path):
    """Path of a text file in an encoding that the user names.

    Attributes:
        encoding: Name of the encoding, of Python's codecs.
    """

    encoding: str

    @classmethod
    def of(cls, path: Path, encoding: str) -> EncodedPath:
        """Path with its encoding.

        Args:
            path: Path of a text file, or of a member of an archive.
            encoding: Name of the encoding.

        Raises:
            ValueError: If there is no such encoding.
        """
        made = cls(path)
        try:
            io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        except LookupError as error:
            raise ValueError(
                f"{escape(path)}: encoding is {encoding!r}, which there is not; give e.g. gb18030, big5 or utf-16-le"
            ) from error
        made.encoding = encoding
        return made


def encoding_of(path: Path) -> str | None:
    """Encoding that the user names for a text file; ``None`` for UTF-8, or UTF-16 with a byte-order mark.

    Args:
        path: Path of the file.
    """
    return path.encoding if isinstance(path, EncodedPath) else None


@contextlib.contextmanager
def open_utf8(path: Path) -> Iterator[io.BufferedReader]:
    """Open a text file for reading bytes in UTF-8, converted if it is in another encoding.

    Args:
        path: Path of the file, or of a member of an archive.

    Raises:
        ValueError: If the file cannot be decompressed, or is not in its encoding.
    """
    with open_bytes(path) as file:
        encoding = encoding_of(path)
        head = file.peek(4)[:4]
        if encoding is None and head.startswith(_UTF16) and not head.startswith(_UTF32):
            encoding = "utf-16"
        yield file if encoding is None else io.BufferedReader(_Utf8Stream(path, file, encoding), _CHUNK)


class _Utf8Stream(io.RawIOBase):
    """Text of a file as UTF-8. Bytes that are not in the file's encoding are kept, so that their line is a bad row."""

    def __init__(self, path: Path, file: io.BufferedReader, encoding: str) -> None:
        self.path, self.file, self.encoding = path, file, encoding
        self.decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        self.pending, self.ended = b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        while not (self.pending or self.ended):
            chunk = self.file.read(_CHUNK)
            self.ended = not chunk
            try:
                self.pending = self.decoder.decode(chunk, self.ended).encode("utf-8", "surrogateescape")
            except UnicodeError as error:
                raise ValueError(f"{escape(self.path)}: not {self.encoding} ({error}); save it as UTF-8") from error
        view = memoryview(buffer)
        count = min(len(view), len(self.pending))
        view[:count], self.pending = self.pending[:count], self.pending[count:]
        return count


def is_unicode_text(path: Path) -> bool:
    """Return true if a file is a table as Excel saves "Unicode Text (.txt)": UTF-16 with tabs in its first line.

    Args:
        path: Path of a text file.
    """
    with open_bytes(path) as file:
        if not file.peek(2)[:2].startswith(_UTF16):
            return False
    with open_utf8(path) as file:
        return b"\t" in file.readline(_CHUNK)
