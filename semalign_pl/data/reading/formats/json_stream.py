"""Incremental parser of one JSON document: a list of any length takes little memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from semalign_pl.data.reading.formats.json_decoder import DECODER, describe_json_error
from semalign_pl.data.reading.formats.record import MAX_LINE, escape, quote

_BLANK = re.compile(r"[ \t\r\n]*")


class JsonStream:
    """One JSON document, read through a window of text that moves over the file.

    Args:
        path: Path of the file, for messages.
        file: Open file.

    Attributes:
        text: Text in the window.
        at: Index in ``text`` of the next character.
        line: Number of the file's line on which ``text`` starts.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.text, self.at, self.line = "", 0, 1

    def error(self, reason: str, line: int | None = None) -> ValueError:
        """Error for text that is not JSON, on a given line or else that of the next character."""
        line = line or self.line + self.text.count("\n", 0, self.at)
        return ValueError(
            f"{escape(self.path)}:{line}: not JSON ({reason}); mend it, or write one object per line as .jsonl"
        )

    def read_chunk(self) -> bool:
        """Read the next chunk; return false at the end of the file.

        A chunk is at least as long as the unread text in the window. A long value, which is parsed again after each
        chunk, therefore takes linear time.

        Raises:
            ValueError: If the file is not UTF-8.
        """
        chunk = self.file.read(max(1 << 16, len(self.text) - self.at))
        self.line += self.text.count("\n", 0, self.at)
        self.text, self.at = self.text[self.at :], 0
        try:
            self.text += self.decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            line = self.line + self.text.count("\n") + chunk.count(b"\n", 0, error.start)
            raise ValueError(
                f"{escape(self.path)}:{line}: not UTF-8 (byte 0x{error.object[error.start]:02x}); convert the file: "
                "iconv -f <its encoding> -t UTF-8"
            ) from error
        return bool(chunk)

    def peek(self) -> str:
        """Skip white space and return the next character, or an empty string at the end of the file."""
        while True:
            self.at = _BLANK.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text) or not self.read_chunk():
                return self.text[self.at : self.at + 1]

    def value(self) -> object:
        """Parse the next value.

        Raises:
            ValueError: If it is not JSON, is nested too deep, or does not end within about `MAX_LINE` characters.
        """
        while True:
            self.peek()
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                line = self.line + error.lineno - 1
                # The error may be due to the end of the window: try again with more text.
                if len(self.text) - self.at > MAX_LINE or not self.read_chunk():
                    raise self.error(error.msg, line) from error
            except (ValueError, RecursionError) as error:
                raise self.error(describe_json_error(error)) from error
            else:
                if end < len(self.text) or not self.read_chunk():  # a number may continue in the next chunk
                    self.at = end
                    return value

    def elements(self) -> Iterator[object]:
        """Yield the elements of the array at the current position."""
        self.at += 1
        sign = self.peek()
        while sign != "]":
            yield self.value()
            sign = self.peek()
            if sign == ",":
                self.at += 1
            elif sign != "]":
                raise self.error("a comma or ] is wanted here")
        self.at += 1

    def members(self) -> Iterator[str]:
        """Yield the keys of the object at the current position; read the value of each before the next key."""
        self.at += 1
        sign = self.peek()
        while sign != "}":
            key = self.value()
            if not isinstance(key, str):
                raise self.error(f"{quote(key)} where a key in quotes is wanted")
            if self.peek() != ":":
                raise self.error("a colon is wanted here")
            self.at += 1
            yield key
            sign = self.peek()
            if sign == ",":
                self.at += 1
            elif sign != "}":
                raise self.error("a comma or } is wanted here")
        self.at += 1

    def end(self, then: Collection[str] = ("",), what: str = "value") -> None:
        """Check that an allowed character comes next.

        Args:
            then: Allowed characters; an empty string allows the end of the file.
            what: Name of the preceding part of the document, for the message.

        Raises:
            ValueError: If another character follows.
        """
        sign = self.peek()
        if sign not in then:
            raise self.error(f"{quote(sign)} after the {what}")

    def line_number(self) -> int:
        """Number of the next character's line."""
        return self.line + self.text.count("\n", 0, self.at)
