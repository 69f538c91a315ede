"""SQuAD files: articles of paragraphs, each with its questions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semalign_pl.data.reading.formats.account import Intake
from semalign_pl.data.reading.formats.json_rows import object_row
from semalign_pl.data.reading.formats.json_stream import Window
from semalign_pl.data.reading.formats.record import Item, bad_row


def squad(path: Path, window: Window, intake: Intake) -> Iterator[Item]:
    """Yield one row per question of a SQuAD file.

    Args:
        path: Path of the file, for messages.
        window: Document, positioned at the array of articles.
        intake: Number of questions read, updated while reading.
    """
    found = (question for article in window.elements() for question in _questions(article, intake))
    for number, question in enumerate(found, 1):
        fault = "no paragraph with questions in SQuAD's form (paragraphs, qas, question); mend it or drop it"
        yield Item(number, object_row(path, number, question) if question else bad_row(path, number, fault, ""))
    window.end((",", "}"), "array")


def _questions(article: Any, intake: Intake) -> Iterator[dict[str, Any] | None]:
    """Yield one row per question; None for an article, paragraph or question of another form."""
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
