"""Layouts of multiple-choice files: the columns of each published data set, and how its questions are asked.

The templates are those of lm-evaluation-harness (EleutherAI, version 0.4.13), so that accuracies can be compared with
published ones. The harness has no task for C3.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Literal

Row = Mapping[str, object]
Shown = Literal["letters", "text"]


class FieldError(ValueError):
    """Error for a field of a row; its message names the field, the value and the remedy."""


@dataclass(frozen=True)
class Question:
    """Question with options, one of which is right.

    Attributes:
        id: File and line of the question.
        context: Text that the question is about; empty if there is none.
        question: Question itself.
        options: Options.
        answer: Index of the right option.
    """

    id: str
    context: str
    question: str
    options: tuple[str, ...]
    answer: int

    @property
    def place_and_text(self) -> tuple[str, str, str, tuple[str, ...]]:
        """File and text; equal for a row that is in a file twice, or in a file that was read twice."""
        return self.id.rpartition(":")[0], self.context, self.question, self.options


@dataclass(frozen=True)
class FileLayout:
    """Layout of a file.

    Attributes:
        name: Name of the layout.
        columns: Columns by which the layout is recognised.
        read: Function from a row to context, question, options and index of the answer; raises ``FieldError``.
        prompt: Template of a question, with {answer} at its end.
        options: Kind of answer: the letter of an option, or its text.
    """

    name: str
    columns: frozenset[str]
    read: Callable[[Row], tuple[str, str, tuple[str, ...], int]]
    prompt: str
    options: Shown


def text_of(row: Row, field: str) -> str:
    """Text of a field, or a number as text.

    Args:
        row: Row of a file.
        field: Name of the field.

    Raises:
        FieldError: If there is no such field, or it is blank or something else.
    """
    value = row.get(field)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        what = "there is none" if field not in row else f"it is {value!r:.60}"
        raise FieldError(f"{field}: {what}, and a text is wanted; fill it in or drop the row")
    return value


def texts_of(row: Row, field: str) -> tuple[str, ...]:
    """Texts of a field that holds a list.

    Args:
        row: Row of a file.
        field: Name of the field.

    Raises:
        FieldError: If it is not a list of at least two texts.
    """
    values = row.get(field)
    if not isinstance(values, list) or len(values) < 2:
        raise FieldError(f"{field}: {values!r:.60} is not a list of two or more options; mend or drop the row")
    return tuple(text_of({f"{field}[{place}]": value}, f"{field}[{place}]") for place, value in enumerate(values))


def index_of(row: Row, field: str, labels: Sequence[str]) -> int:
    """Index of the right option.

    Args:
        row: Row of a file.
        field: Name of the field with the right option's label.
        labels: Label of each option.

    Raises:
        FieldError: If the field is no label.
    """
    value = str(row.get(field, "")).strip()
    if value not in labels:
        raise FieldError(
            f"{field}: {value!r:.60} is none of {', '.join(labels)}; test splits are often published without answers: "
            "give a split that has them, or drop the row"
        )
    return labels.index(value)


def _make_letter_reader(question: str, answer: str) -> Callable[[Row], tuple[str, str, tuple[str, ...], int]]:
    def read(row: Row) -> tuple[str, str, tuple[str, ...], int]:
        options = tuple(text_of(row, letter) for letter in "ABCD")
        return "", text_of(row, question).strip(), options, index_of(row, answer, tuple("ABCD"))

    return read


def _c3(row: Row) -> tuple[str, str, tuple[str, ...], int]:
    context = row.get("context")
    options = texts_of(row, "choice")
    joined = "\n".join(map(str, context)) if isinstance(context, list) else text_of(row, "context")
    return joined, text_of(row, "question"), options, index_of(row, "answer", options)


def _arc(row: Row) -> tuple[str, str, tuple[str, ...], int]:
    # AI2's own files nest the question; the hub's have two lists of choices.
    question = row.get("question")
    nested: Row = question if isinstance(question, Mapping) else {"stem": question, "choices": row.get("choices")}
    choices = nested.get("choices")
    if isinstance(choices, list) and all(isinstance(one, Mapping) for one in choices):
        choices = {key: [one.get(key) for one in choices] for key in ("text", "label")}
    if not isinstance(choices, Mapping):
        raise FieldError(f"choices: {choices!r:.60} has no texts and labels; write them as AI2 does")
    options, labels = texts_of(choices, "text"), texts_of(choices, "label")
    stem = text_of({"question": nested.get("stem")}, "question")
    return "", stem, options, index_of(row, "answerKey", labels)


def _hellaswag(row: Row) -> tuple[str, str, tuple[str, ...], int]:
    second = row.get("ctx_b")  # empty in the half of the data set that is from WikiHow
    started = f"{text_of(row, 'ctx_a')} {second.capitalize() if isinstance(second, str) else ''}"
    endings = tuple(_without_brackets(ending) for ending in texts_of(row, "endings"))
    if "" in endings:
        place = endings.index("")
        raise FieldError(
            f"endings[{place}]: {texts_of(row, 'endings')[place]!r:.60} holds nothing but marks; give a text"
        )
    answer = index_of(row, "label", [str(place) for place in range(len(endings))])
    return "", _without_brackets(f"{text_of(row, 'activity_label')}: {started}"), endings, answer


def _without_brackets(text: str) -> str:
    """Text without the marks of WikiHow, as lm-evaluation-harness removes them."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def _piqa(row: Row) -> tuple[str, str, tuple[str, ...], int]:
    return "", text_of(row, "goal"), (text_of(row, "sol1"), text_of(row, "sol2")), index_of(row, "label", ("0", "1"))


def _belebele(row: Row) -> tuple[str, str, tuple[str, ...], int]:
    options = tuple(text_of(row, f"mc_answer{number}") for number in range(1, 5))
    answer = index_of(row, "correct_answer_num", ("1", "2", "3", "4"))
    return text_of(row, "flores_passage"), text_of(row, "question").strip(), options, answer


_LETTERED = "{question}\n{options}\n答案： {answer}"
_PLAIN = "Question: {question}\nAnswer: {answer}"
_ALL = [
    FileLayout(
        "cmmlu",
        frozenset(("Question", *"ABCD", "Answer")),
        _make_letter_reader("Question", "Answer"),
        _LETTERED,
        "letters",
    ),
    FileLayout(
        "ceval",
        frozenset(("question", *"ABCD", "answer")),
        _make_letter_reader("question", "answer"),
        _LETTERED,
        "letters",
    ),
    FileLayout(
        "c3",
        frozenset(("context", "question", "choice", "answer")),
        _c3,
        "{context}\n问：{question}\n答：{answer}",
        "text",
    ),
    FileLayout("arc", frozenset(("question", "answerKey")), _arc, _PLAIN, "text"),
    FileLayout(
        "hellaswag",
        frozenset(("activity_label", "ctx_a", "ctx_b", "endings", "label")),
        _hellaswag,
        "{question} {answer}",
        "text",
    ),
    FileLayout("piqa", frozenset(("goal", "sol1", "sol2")), _piqa, _PLAIN, "text"),
    FileLayout(
        "belebele",
        frozenset(
            ("flores_passage", "question", *(f"mc_answer{number}" for number in range(1, 5)), "correct_answer_num")
        ),
        _belebele,
        "P: {context}\nQ: {question}\nA: {A}\nB: {B}\nC: {C}\nD: {D}\nAnswer: {answer}",
        "letters",
    ),
]
LAYOUTS = {layout.name: layout for layout in _ALL}
OWN_COLUMNS: dict[str, str | list[str]] = {"question": "question", "options": "options", "answer": "answer"}
"""Columns of a file in no published layout, unless the user names them."""


def own_layout(columns: Mapping[str, str | list[str]]) -> FileLayout:
    """FileLayout of a user's own file.

    Args:
        columns: Column by role: ``question``, ``answer``, ``options`` (one column with a list, or one column per
            option), and ``context`` if there is one.
    """
    options, context = columns["options"], columns.get("context")
    named = [column for value in columns.values() for column in ([value] if isinstance(value, str) else value)]

    def read(row: Row) -> tuple[str, str, tuple[str, ...], int]:
        given = texts_of(row, options) if isinstance(options, str) else tuple(text_of(row, name) for name in options)
        values = row[options] if isinstance(options, str) else [row[name] for name in options]
        assert isinstance(values, list), "texts_of refuses anything else"
        about = text_of(row, str(context)) if context else ""
        question, answer = (str(columns[role]) for role in ("question", "answer"))
        return about, text_of(row, question), given, _own_answer(row, answer, given, values)

    about = "{context}\n" if context else ""
    return FileLayout("columns", frozenset(named), read, f"{about}{{question}}\n{{answer}}", "text")


def _own_answer(row: Row, field: str, options: tuple[str, ...], values: Sequence[object]) -> int:
    """Index of the right option, which a file names by its text, its letter, or its index from 0.

    A number of JSON is no text: it is an index, or an option that is a number, too (``values``).
    """
    value, given = text_of(row, field).strip(), row.get(field)
    letters = ascii_uppercase[: len(options)]
    if isinstance(given, str):
        places = {place for place, option in enumerate(options) if option.strip() == value}
    else:
        places = {place for place, option in enumerate(values) if option == given}
    if len(value) == 1 and value in letters:
        places.add(letters.index(value))
    if value.isdecimal() and int(value) < len(options):
        places.add(int(value))
    if len(places) != 1:
        what = "is no option: no text, letter or index from 0 of one" if not places else "means several options"
        raise FieldError(f"{field}: {value!r:.60} {what}; write the letter of the right option")
    return places.pop()
