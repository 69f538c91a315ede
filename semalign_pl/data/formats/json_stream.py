"""Incremental reading of one JSON document, so that a list of any length takes little memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from semalign_pl.data.formats.json_value import DECODER, reason
from semalign_pl.data.formats.record import MAX_LINE, quoted, shown

_BLANK = re.compile(r"[ \t\r\n]*")


class Window:
    """A window of text that moves through a JSON document.

    Attributes:
        text: Text that is held.
        at: Position in it of the next character.
        line: Line of the file on which it starts.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.text, self.at, self.line = "", 0, 1

    def fault(self, why: str, line: int | None = None) -> ValueError:
        """Return the error for text that is not JSON, at the next character or in a line."""
        line = line or self.line + self.text.count("\n", 0, self.at)
        return ValueError(
            f"{shown(self.path)}:{line}: not JSON ({why}); mend it, or write one object per line as .jsonl"
        )

    def grow(self) -> bool:
        """Read on; false at the end of the file.

        The chunk grows with the text that is held: a value that is parsed again for each chunk takes linear time.
        """
        chunk = self.file.read(max(1 << 16, len(self.text) - self.at))
        self.line += self.text.count("\n", 0, self.at)
        self.text, self.at = self.text[self.at :], 0
        try:
            self.text += self.decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            line = self.line + self.text.count("\n") + chunk.count(b"\n", 0, error.start)
            raise ValueError(
                f"{shown(self.path)}:{line}: not UTF-8 (byte 0x{error.object[error.start]:02x}); convert the file: "
                "iconv -f <its encoding> -t UTF-8"
            ) from error
        return bool(chunk)

    def sign(self) -> str:
        """Skip blanks and return the next character, or an empty string at the end of the file."""
        while True:
            self.at = _BLANK.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text) or not self.grow():
                return self.text[self.at : self.at + 1]

    def value(self) -> Any:
        """Read the value that starts here."""
        while True:
            self.sign()
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                line = self.line + error.lineno - 1
                # The value may only be cut off at the end of the window.
                if len(self.text) - self.at > MAX_LINE or not self.grow():
                    raise self.fault(error.msg, line) from error
            except (ValueError, RecursionError) as error:
                raise self.fault(reason(error)) from error
            else:
                if end < len(self.text) or not self.grow():  # a number may go on
                    self.at = end
                    return value

    def elements(self) -> Iterator[Any]:
        """Yield the elements of the array that starts here."""
        self.at += 1
        sign = self.sign()
        while sign != "]":
            yield self.value()
            sign = self.sign()
            if sign == ",":
                self.at += 1
            elif sign != "]":
                raise self.fault("a comma or ] is wanted here")
        self.at += 1

    def members(self) -> Iterator[str]:
        """Yield the keys of the object that starts here; read the value of each before the next key."""
        self.at += 1
        sign = self.sign()
        while sign != "}":
            key = self.value()
            if not isinstance(key, str):
                raise self.fault(f"{quoted(key)} where a key in quotes is wanted")
            if self.sign() != ":":
                raise self.fault("a colon is wanted here")
            self.at += 1
            yield key
            sign = self.sign()
            if sign == ",":
                self.at += 1
            elif sign != "}":
                raise self.fault("a comma or } is wanted here")
        self.at += 1

    def end(self, then: Collection[str] = ("",), what: str = "value") -> None:
        """Check that the end of the file, or one of the signs in ``then``, follows."""
        sign = self.sign()
        if sign not in then:
            raise self.fault(f"{quoted(sign)} after the {what}")

    def line_number(self) -> int:
        """The line of the next character."""
        return self.line + self.text.count("\n", 0, self.at)
