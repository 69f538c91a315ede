"""Escapes for text that a terminal would act on, and output streams that accept any text."""

from __future__ import annotations

import io
import logging
import os
import sys
import unicodedata
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

P = ParamSpec("P")
_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_KEPT = "\n\t"


def visible(text: object) -> str:
    r"""Text that no terminal acts on: control characters are escaped, such as ``\x1b``.

    These are escaped: the C0 and C1 controls except line feed and tab; the marks that change the direction of writing,
    as they make one text look like another; line and paragraph separators; and surrogates, which represent bytes of a
    file name that are not UTF-8 and cannot be printed. Joiners are kept, since many scripts need them.

    Args:
        text: Text, or an object to convert with ``str``.
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
    r"""Make this process's output streams safe for text of any script, for readers that end, and for closed streams.

    Characters that the terminal's encoding lacks are escaped (``\u0f40``) instead of raising. Output to a reader that
    has ended, as in ``semalign corpus FILE | head``, is dropped: the command continues and writes its files.
    """
    for number in (0, 1, 2):  # a file opened later must not take the number of a closed stream
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout, sys.stderr = _open(sys.stdout, 1), _open(sys.stderr, 2)
    logging.setLogRecordFactory(_make_record)
    warnings.showwarning = _show_warning


class _Output(io.FileIO):
    """Stream that drops output once its reader has ended."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(memoryview(data).cast("B"))


def _open(stream: TextIO | None, number: int) -> TextIO:
    if stream is not None and not isinstance(stream, io.TextIOWrapper):
        return stream  # other code has replaced this stream already
    encoding = "utf-8" if stream is None else stream.encoding
    lines, through = (True, False) if stream is None else (stream.line_buffering, stream.write_through)
    if stream is not None:
        stream.flush()
    raw = io.BufferedWriter(_Output(number, "wb", closefd=False))
    return io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=lines, write_through=through)


def _escape_records(make: Callable[P, logging.LogRecord]) -> Callable[P, logging.LogRecord]:
    """Factory of log records with escaped control characters; other packages' records, which may have colours, stay."""

    def make_escaped(*args: P.args, **kwargs: P.kwargs) -> logging.LogRecord:
        record = make(*args, **kwargs)
        if record.name.split(".")[0] in ("semalign_pl", "lightning"):
            record.msg, record.args = visible(record.getMessage()), ()
        return record

    return make_escaped


_make_record = _escape_records(logging.getLogRecordFactory())


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
