"""Files of multiple-choice questions: CSV, JSON, JSON Lines and hub datasets, read into questions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semalign_pl.data.reading.formats import BadRow, SourceFile, find_source_files
from semalign_pl.files.documents import read_json
from semalign_pl.probes.generation_rows import draw
from semalign_pl.probes.multiple_choice_layouts import (
    LAYOUTS,
    OWN_COLUMNS,
    FieldError,
    FileLayout,
    Question,
    own_layout,
)

_SPLIT = re.compile(r"[._-](train|dev|val|valid|validation|test)$")


@dataclass(frozen=True)
class QuestionFile:
    """Questions of one file.

    Attributes:
        subject: Name of the file without suffix and split: ``law`` for ``law_val.csv`` and ``law_dev.csv``.
        questions: Questions in the order of the file.
    """

    subject: str
    questions: Sequence[Question]


def read_question_files(
    option: str, file: str, split: str, layout: FileLayout | None
) -> tuple[list[QuestionFile], FileLayout]:
    """Read the questions of a file, of several files (``test/*.csv``), or of a hub dataset.

    Args:
        option: YAML key of the file, for messages.
        file: Name of the source, as in the data module.
        split: Split of a hub dataset that names none.
        layout: Layout; ``None`` to recognise it by the columns of the first row.

    Returns:
        Questions per file, and their layout.

    Raises:
        ValueError: If a file cannot be read, has another layout, or a row lacks something; names file, line and field.
    """
    files: list[QuestionFile] = []
    try:
        sources = find_source_files(file, split)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error
    for source in sources:
        questions = []
        for place, row in _rows(option, source):
            where = f"{option}: {source.source}:{place}"
            layout = layout or _recognise(where, row)
            if missing := sorted(layout.columns - row.keys()):
                needed = ", ".join(sorted(layout.columns))
                raise ValueError(f"{where}: {missing[0]}: there is no such field; layout {layout.name} needs {needed}")
            try:
                questions.append(Question(f"{source.name}:{place}", *layout.read(row)))
            except FieldError as error:
                raise ValueError(f"{where}: {error}") from error
        if not questions:
            raise ValueError(f"{option}: {source.source}: there is no question in it; give a file with questions")
        files.append(QuestionFile(_SPLIT.sub("", Path(source.name).name.partition(".")[0]), questions))
    assert layout is not None, "a source without files or rows has been refused"
    return files, layout


def _recognise(where: str, row: Mapping[str, object]) -> FileLayout:
    for layout in LAYOUTS.values():
        if layout.columns <= row.keys():
            return layout
    if set(OWN_COLUMNS) <= row.keys():
        return own_layout({**OWN_COLUMNS, **({"context": "context"} if "context" in row else {})})
    raise ValueError(
        f"{where}: the fields {', '.join(map(str, row))} are of no known layout ({', '.join(LAYOUTS)}); name them: "
        "columns: {question: …, options: …, answer: …}"
    )


def _rows(option: str, source: SourceFile) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Rows with their places: the number of the line, or what else counts in that format."""
    if source.plain:
        raise ValueError(f"{option}: {source.source}: a text file has no options; give .csv, .json or .jsonl")
    path = source.files[0] if len(source.files) == 1 else None
    if path is not None and path.suffix == ".json":
        document = read_json(path, "give a file of multiple-choice questions", f"{option}: {path}")
        if isinstance(document, list) and document and isinstance(document[0], list):
            yield from _c3_rows(option, path, document)
            return
    labels = _labels_of_piqa(option, path)
    # Without a wanted column, a table would be read as one without a header.
    wanted = {"every column"} if source.header else set[str]()
    for count, (number, row) in enumerate(source.read(wanted)):
        if isinstance(row, BadRow):
            raise ValueError(f"{option}: {row.message}")
        if labels is not None and "label" not in row:
            if count >= len(labels):
                raise ValueError(f"{option}: {source.source}:{number}: no label, its file has {len(labels)} lines")
            row = {**row, "label": labels[count]}
        yield str(number), row


def _labels_of_piqa(option: str, path: Path | None) -> list[str] | None:
    """Lines of ``valid-labels.lst`` beside ``valid.jsonl``, where PIQA's authors publish the answers."""
    labels = path.with_name(f"{path.name.partition('.')[0]}-labels.lst") if path is not None else None
    if labels is None or not labels.is_file():
        return None
    try:
        return labels.read_text(encoding="utf-8").split()
    except UnicodeDecodeError as error:
        raise ValueError(f"{option}: {labels} is not UTF-8 text ({error}); convert it") from error


def _c3_rows(option: str, path: Path, document: list[object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Rows of C3's own files: an array of ``[turns, questions, id]``."""
    for number, entry in enumerate(document, start=1):
        turns, questions = entry[:2] if isinstance(entry, list) and len(entry) >= 2 else (None, None)
        if not isinstance(turns, list) or not isinstance(questions, list):
            raise ValueError(f"{option}: {path}:{number}: is not [turns, questions, id], as in C3; mend or drop it")
        for index, question in enumerate(questions, start=1):
            if not isinstance(question, dict):
                raise ValueError(f"{option}: {path}:{number}.{index}: {question!r:.60} is no question; mend or drop it")
            yield f"{number}.{index}", {"context": turns, **question}


def draw_examples(
    own: str, files: Sequence[QuestionFile], layout: FileLayout, examples: str | None, number: int, seed: int
) -> list[list[Question]]:
    """Few-shot examples for the questions of each file.

    Args:
        own: Name of the probe, for messages.
        files: Questions per file.
        layout: Layout of the questions, and of the examples.
        examples: File to draw from, or several, matched by subject; ``None`` to draw from the questions themselves.
        number: Number of examples.
        seed: Seed of the draw.

    Returns:
        Examples per file, in the order of their file.

    Raises:
        ValueError: If there are too few, or a subject has none.
    """
    if number == 0:
        return [[] for _ in files]
    sources = {one.subject: one for one in files}
    if examples is not None:
        read, _ = read_question_files(f"{own}.examples", examples, "validation", layout)
        sources = {one.subject: one for one in read}
        if len(sources) < len(read):
            subject = next(one.subject for one in read if sources[one.subject] is not one)
            raise ValueError(f"{own}.examples: {examples} has several files for {subject}; name those of one split")
        if len(read) == 1:
            sources = {one.subject: read[0] for one in files}
    for one in files:
        if one.subject not in sources:
            raise ValueError(
                f"{own}.examples: {examples} has no file for {one.subject}, such as {one.subject}_dev.csv; add it"
            )
        if (there := len(sources[one.subject].questions)) < number:
            where = f"{examples or 'the file'} has {there} for {one.subject}"
            raise ValueError(f"{own}.num_examples: {number} are wanted, and {where}; give fewer")
    return [draw(sources[one.subject].questions, number, seed) for one in files]
