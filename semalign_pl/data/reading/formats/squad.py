"""SQuAD files: articles of paragraphs, each with its questions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from semalign_pl.data.reading.formats.account import LineCounter
from semalign_pl.data.reading.formats.json_rows import object_row
from semalign_pl.data.reading.formats.json_stream import JsonStream
from semalign_pl.data.reading.formats.record import Item, bad_row


def squad(path: Path, stream: JsonStream, counter: LineCounter) -> Iterator[Item]:
    """Yield one row per question of a SQuAD file.

    Args:
        path: Path of the file, for messages.
        stream: Document, positioned at the array of articles.
        counter: Number of questions read, updated while reading.
    """
    questions = (question for article in stream.elements() for question in _questions(article, counter))
    for number, question in enumerate(questions, 1):
        fault = "no paragraph with questions in SQuAD's form (paragraphs, qas, question); mend it or drop it"
        yield Item(number, object_row(path, number, question) if question else bad_row(path, number, fault, ""))
    stream.end((",", "}"), "array")


def _questions(article: object, counter: LineCounter) -> Iterator[dict[str, object] | None]:
    """Yield one row per question; None for an article, paragraph or question of another form."""
    for paragraph in _list(article, "paragraphs"):
        questions = _list(paragraph, "qas")
        counter.lines += len(questions)
        for question in questions:
            if not isinstance(question, dict):
                yield None
                continue
            answers = question.get("answers")
            first = answers[0] if isinstance(answers, list) and answers else None
            yield {
                "id": question.get("id"),
                "title": _value(article, "title"),
                "context": _value(paragraph, "context"),
                "question": question.get("question"),
                "answer": first.get("text") if isinstance(first, dict) else "",
            }


def _value(item: object, key: str) -> object:
    return item.get(key) if isinstance(item, dict) else None


def _list(item: object, key: str) -> list[object]:
    inner = _value(item, key)
    return inner if isinstance(inner, list) else [None]
