"""Judgements as JSON lines: one verdict on two answers, by a language model or a person."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from semalign_pl.files.atomic import write_text

Side = Literal["a", "b"]
Winner = Literal["a", "b", "tie"]


@dataclass(frozen=True)
class Judgement:
    """One verdict on the two answers to one item.

    Attributes:
        id: Id of the item.
        judge: Name of the model or the person.
        rubric: Name of the rubric, or the digest of a user's own file.
        first: Side that was shown first.
        winner: Better side, whichever place it was shown in; ``None`` if the judge's answer holds no verdict.
        reason: The judge's own words; ``None`` if not kept.
        prompt_tokens: Tokens that the judge read; ``None`` for a person.
        completion_tokens: Tokens that the judge wrote; ``None`` for a person.
    """

    id: str
    judge: str
    rubric: str
    first: Side
    winner: Winner | None
    reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    @property
    def value(self) -> float | None:
        """Share of the win that A gets: 1, 0.5 for a tie, 0; ``None`` without a verdict."""
        return None if self.winner is None else {"a": 1.0, "tie": 0.5, "b": 0.0}[self.winner]


def write_judgements(path: Path, judgements: Iterable[Judgement]) -> None:
    """Replace a file by judgements, one JSON line each, without the fields that are ``None``.

    ``winner`` is written as ``null`` where the answer holds no verdict.

    Args:
        path: File to replace or make.
        judgements: Judgements in the order of the file.
    """
    rows = ({k: v for k, v in asdict(one).items() if v is not None or k == "winner"} for one in judgements)
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_judgements(path: Path) -> list[Judgement]:
    """Read a file of judgements.

    Args:
        path: File of JSON lines; keys other than those of `Judgement` are left out.

    Raises:
        ValueError: If the file cannot be read, or a line is malformed; names file, line and field.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); give a file of judgements in UTF-8") from error
    return [_parse(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]


def _parse(line: str, where: str) -> Judgement:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not a JSON object ({error}); mend or delete the line") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where}: {line[:40]!r} is no JSON object; mend or delete the line")
    for name in ("id", "judge", "rubric"):
        if not isinstance(row.get(name), str) or not row[name]:
            raise ValueError(f"{where}: {name}: {row.get(name)!r} is no text; give the {name} of the judgement")
    for name, accepted in (("first", get_args(Side)), ("winner", (*get_args(Winner), None))):
        if name not in row or row[name] not in accepted:
            known = ", ".join("null" if value is None else value for value in accepted)
            raise ValueError(f"{where}: {name}: {row.get(name)!r} is none of {known}; mend or delete the line")
    for name in ("prompt_tokens", "completion_tokens"):
        value = row.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise ValueError(f"{where}: {name}: {value!r} is no number of tokens; mend it, or delete the field")
    if not isinstance(row.get("reason"), str | None):
        raise ValueError(f"{where}: reason: {row['reason']!r} is no text; mend it, or delete the field")
    return Judgement(**{name: row[name] for name in Judgement.__dataclass_fields__ if name in row})
