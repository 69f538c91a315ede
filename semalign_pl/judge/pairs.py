"""Pairs of answers to compare, from two files of JSON lines."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

PREDICTIONS = "predictions.jsonl"
SOURCES = ("source", "prompt", "question", "input")
TEXTS = ("prediction", "text", "completion", "answer", "output")
REFERENCES = ("reference", "references", "target")


@dataclass(frozen=True)
class Pair:
    """Two answers to one item.

    Attributes:
        id: Id of the item.
        source: Text that both answers are about.
        reference: Human answer; ``None`` if the files have none.
        a: Answer of system A.
        b: Answer of system B.
    """

    id: str
    source: str
    reference: str | None
    a: str
    b: str


@dataclass(frozen=True)
class _Row:
    line: int
    source: str
    reference: str | None
    text: str


def read_pairs(
    a: Path,
    b: Path,
    prompt_field: str | None = None,
    text_field: str | None = None,
    reference_field: str | None = None,
) -> list[Pair]:
    """Pair the answers of two systems by id, in the order of A's file.

    Args:
        a: Answers of system A: ``predictions.jsonl`` of a run, a file that ``semalign translate --out`` wrote, other
            JSON lines with an id, a source and a text, or the folder of a run that was tested.
        b: Answers of system B to the same items.
        prompt_field: Name of the field with the source; the first of ``SOURCES`` in a row if ``None``.
        text_field: Name of the field with the answer; the first of ``TEXTS`` in a row if ``None``.
        reference_field: Name of the field with the reference; the first of ``REFERENCES`` in a row if ``None``.

    Raises:
        ValueError: If a file cannot be read, a row lacks a field, an id is there twice, or the files differ in ids,
            sources or references; names file and line.
    """
    a, b = (path / PREDICTIONS if path.is_dir() else path for path in (a, b))
    wanted = (prompt_field, text_field, reference_field)
    of_a, of_b = _read(a, *wanted), _read(b, *wanted)
    for one, rows, other, others in ((a, of_a, b, of_b), (b, of_b, a, of_a)):
        if missing := [id for id in rows if id not in others]:
            raise ValueError(
                f"{one}:{rows[missing[0]].line}: {other} has no row with the id {missing[0]!r} ({len(missing)} of "
                f"{len(rows)} are missing); give two files of answers to the same items"
            )
    for id, row in of_a.items():
        twin = of_b[id]
        both_refer = row.reference is not None and twin.reference is not None
        if row.source != twin.source or (both_refer and row.reference != twin.reference):
            kind = "source" if row.source != twin.source else "reference"
            raise ValueError(
                f"{b}:{twin.line}: the {kind} of {id!r} differs from that in {a}:{row.line}; give two files of "
                "answers to the same items"
            )
    return [
        Pair(id, row.source, of_b[id].reference if row.reference is None else row.reference, row.text, of_b[id].text)
        for id, row in of_a.items()
    ]


def _read(path: Path, prompt: str | None, text: str | None, reference: str | None) -> dict[str, _Row]:
    """Rows of one file by id."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror}); give a file of answers, JSON lines") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    rows: dict[str, _Row] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}: not a JSON object ({error}); give JSON lines, one object each") from error
        if not isinstance(row, dict) or not isinstance(row.get("id"), str | int):
            raise ValueError(f"{where}: there is no id; give one per row, the same in both files")
        id = str(row["id"])
        if id in rows:
            raise ValueError(f"{where}: the id {id!r} is on line {rows[id].line}, too; give each item one id")
        rows[id] = _Row(
            number,
            _field(row, "source", prompt, SOURCES, where) or "",
            _field(row, "reference", reference, REFERENCES, where, optional=reference is None) or None,
            _field(row, "text", text, TEXTS, where) or "",
        )
    if not rows:
        raise ValueError(f"{path}: has no rows; give a file of answers, JSON lines")
    return rows


def _field(
    row: dict[str, object], kind: str, given: str | None, names: tuple[str, ...], where: str, optional: bool = False
) -> str | None:
    name = given or next((name for name in names if name in row), None)
    if name is None and optional:
        return None
    if name is None or name not in row:
        there = ", ".join(row)
        raise ValueError(
            f"{where}: there is no {given or ' or '.join(names)}; name the field of the {kind} with --{kind} (there "
            f"are {there})"
        )
    value = row[name]
    if value is None and optional:
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise ValueError(f"{where}: {name}: {json.dumps(value)[:60]} is no text; give a string")
    return value
