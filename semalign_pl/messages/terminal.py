"""Text of a user's made safe for a terminal, and a process whose streams take any text."""

from __future__ import annotations

import io
import logging
import os
import sys
import unicodedata
import warnings
from typing import Any, TextIO

_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_KEPT = "\n\t"


def visible(text: object) -> str:
    r"""Return text in which nothing acts on a terminal: control characters are written out, such as ``\x1b``.

    These are the C0 and C1 controls but line feed and tab, the marks that turn the direction of writing (they make one
    text look like another), line and paragraph separators, and surrogates (bytes of a file name that are no UTF-8,
    which cannot be printed). Joiners, which many scripts need, stay.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(_escape(c) if _acts(c) else c for c in text)


def _acts(character: str) -> bool:
    if character in _KEPT or character.isprintable():
        return False
    return character in _BIDI or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def prepare_process() -> None:
    r"""Make this process's streams safe: for text of any script, for readers that go away, and when they are closed.

    Characters that the terminal's encoding lacks are written out (``\u0f40``) instead of raising. Output to a reader
    that has ended, as in ``semalign corpus FILE | head``, is dropped: the work goes on, and its files are written.
    """
    for number in (0, 1, 2):  # a file opened later must not take the number of a closed stream
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = _open(sys.stdout, 1), _open(sys.stderr, 2)
    logging.setLogRecordFactory(_record)
    warnings.showwarning = _show_warning


class _Output(io.FileIO):
    """A stream that drops what nobody reads any more."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(memoryview(data).cast("B"))


def _open(stream: TextIO | None, number: int) -> TextIO:
    if stream is not None and not isinstance(stream, io.TextIOWrapper):
        return stream  # somebody else's, who has replaced it before us
    encoding = "utf-8" if stream is None else stream.encoding
    lines, through = (True, False) if stream is None else (stream.line_buffering, stream.write_through)
    if stream is not None:
        stream.flush()
    raw = io.BufferedWriter(_Output(number, "wb", closefd=False))
    return io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=lines, write_through=through)


_new_record = logging.getLogRecordFactory()


def _record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    """A log record whose message can be printed; records of other packages may carry colours of their own."""
    record = _new_record(*args, **kwargs)
    if record.name.split(".")[0] in ("semalign_pl", "lightning"):
        record.msg, record.args = visible(record.getMessage()), ()
    return record


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    stream = file or sys.stderr
    if stream is not None:
        stream.write(visible(warnings.formatwarning(message, category, filename, lineno, line)))
