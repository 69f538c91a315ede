"""JSON text as Python values, a part of the file at a time."""

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
    """A part of a JSON document that moves on."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.text, self.at, self.line = "", 0, 1

    def fault(self, why: str, line: int | None = None) -> ValueError:
        """The error of text that is not JSON, at the next character or in a line."""
        line = line or self.line + self.text.count("\n", 0, self.at)
        return ValueError(f"{shown(self.path)}:{line}: not JSON ({why}); mend it, or write one object a line as .jsonl")

    def grow(self) -> bool:
        """Reads on, the more the more is held; false at the end of the file."""
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
        """The next character that is not blank, or none at the end of the file."""
        while True:
            self.at = _BLANK.match(self.text, self.at).end()  # type: ignore[union-attr]
            if self.at < len(self.text) or not self.grow():
                return self.text[self.at : self.at + 1]

    def value(self) -> Any:
        """The value that starts here."""
        while True:
            self.sign()
            try:
                value, end = DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                line = self.line + error.lineno - 1
                # It may be whole with what follows.
                if len(self.text) - self.at > MAX_LINE or not self.grow():
                    raise self.fault(error.msg, line) from error
            except (ValueError, RecursionError) as error:
                raise self.fault(reason(error)) from error
            else:
                if end < len(self.text) or not self.grow():  # a number may go on
                    self.at = end
                    return value

    def elements(self) -> Iterator[Any]:
        """The elements of the array that starts here."""
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
        """The keys of the object that starts here; each one's value is to be read before the next."""
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
        """Check what comes after a value: nothing, or one of some signs."""
        sign = self.sign()
        if sign not in then:
            raise self.fault(f"{quoted(sign)} behind the {what}")

    def line_number(self) -> int:
        """The line of the next character."""
        return self.line + self.text.count("\n", 0, self.at)
