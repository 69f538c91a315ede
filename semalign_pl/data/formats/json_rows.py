"""JSON: an object a line, one array of objects, or questions as SQuAD writes them."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from semalign_pl.data.formats.account import Intake
from semalign_pl.data.formats.json_value import DECODER, DEEP, LongNumber, Twice, is_deep
from semalign_pl.data.formats.lines import head_of, lines, opened
from semalign_pl.data.formats.record import MAX_LINE, BadRow, Item, NoRow, bad_row, one_line, quoted, shown

_BLANK = re.compile(r"[ \t\r\n]*")
_ARRAY = re.compile(r"\s*(?=\[)")
_SQUAD = re.compile(r'\s*\{[^{]*"data"\s*:\s*(?=\[\s*\{[^{]*"paragraphs"\s*:)')


def json_lines(path: Path, intake: Intake) -> Iterator[Item]:
    """One JSON object per line; none for a blank line."""
    for number, line in lines(path, intake):
        if isinstance(line, BadRow):
            yield Item(number, line)
        else:
            yield Item(number, NoRow.BLANK if line.isspace() else _line(path, number, line))


def _line(path: Path, number: int, line: str) -> Mapping[str, Any] | BadRow:
    try:
        record = DECODER.decode(line)
    except (ValueError, RecursionError) as error:
        fault = f"not JSON ({_reason(error)}): {quoted(line.strip())}; write one whole object a line"
        return bad_row(path, number, fault, line)
    return _object_row(path, number, record, line)


def _object_row(path: Path, number: int, record: Any, raw: str | None = None) -> Mapping[str, Any] | BadRow:
    if is_deep(record):
        return bad_row(path, number, f"{DEEP}; flatten it, or drop it", raw or "")
    if isinstance(record, dict):
        return record
    return bad_row(path, number, _no_object(record), repr(record) if raw is None else raw)


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg.removesuffix(' at')} at column {error.colno}"
    return DEEP if isinstance(error, RecursionError) else one_line(error)


def _no_object(record: Any) -> str:
    if isinstance(record, Twice):
        return f"the object has {quoted(record.key)} twice; leave one out"
    kind = "number" if isinstance(record, LongNumber) else type(record).__name__
    wanted = 'write one object a line, such as {"zh": "…", "bo": "…"}'
    return f"a JSON {kind} where an object is wanted; {wanted}"


def json_file(path: Path, intake: Intake) -> Iterator[Item]:
    """What a ``.json`` file holds: an array of objects, SQuAD's questions, or an object a line."""
    with opened(path) as file:
        head = head_of(path, file).decode(errors="ignore")
        if start := _ARRAY.match(head):
            for number, record in enumerate(_elements(path, file, start.end(), ("",)), 1):
                intake.lines += 1
                yield Item(number, _object_row(path, number, record))
            return
        if start := _SQUAD.match(head):
            articles = _elements(path, file, start.end(), (",", "}"))
            questions = (question for article in articles for question in _questions(article, intake))
            for number, question in enumerate(questions, 1):
                bad = "not as SQuAD has it; mend it or drop it"
                row = _object_row(path, number, question) if question else bad_row(path, number, bad, "")
                yield Item(number, row)
            return
    yield from json_lines(path, intake)


def _questions(article: Any, intake: Intake) -> Iterator[dict[str, Any] | None]:
    """One row a question; None for an article, paragraph or question that is not one."""
    for paragraph in _list(article, "paragraphs"):
        questions = _list(paragraph, "qas")
        intake.lines += len(questions)
        for question in questions:
            if not isinstance(question, dict):
                yield None
                continue
            answers = question.get("answers")
            first = answers[0] if isinstance(answers, list) and answers else None
            yield {
                "id": question.get("id"),
                "title": article.get("title"),
                "context": paragraph.get("context"),
                "question": question.get("question"),
                "answer": first.get("text") if isinstance(first, dict) else "",
            }


def _list(value: Any, key: str) -> list[Any]:
    inner = value.get(key) if isinstance(value, dict) else None
    return inner if isinstance(inner, list) else [None]


def _elements(path: Path, file: BinaryIO, start: int, then: tuple[str, ...]) -> Iterator[Any]:
    """The elements of the array at character ``start``, with one of ``then`` behind it; little is held at a time."""
    window = _Window(path, file)
    window.grow()
    window.at = start + 1
    sign = window.sign()
    while sign != "]":
        yield window.value()
        sign = window.sign()
        if sign == ",":
            window.at += 1
        elif sign != "]":
            raise window.fault("a comma or ] is wanted here")
    window.at += 1
    if window.sign() not in then:
        raise window.fault(f"{quoted(window.sign())} behind the array")


class _Window:
    """A part of a JSON document that moves on."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.text, self.at, self.line = "", 0, 1

    def fault(self, reason: str, line: int | None = None) -> ValueError:
        line = line or self.line + self.text.count("\n", 0, self.at)
        return ValueError(
            f"{shown(self.path)}:{line}: not JSON ({reason}); mend it, or write one object a line as .jsonl"
        )

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
                raise self.fault(_reason(error)) from error
            else:
                if end < len(self.text) or not self.grow():  # a number may go on
                    self.at = end
                    return value
