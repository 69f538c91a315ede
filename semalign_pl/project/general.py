"""General text for the anchor, the replay and the drift probe, kept apart from each other by seed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import regex

from semalign_pl.data.reading.sources import BadRow, stream
from semalign_pl.inspection.columns import column_names, share_of_text
from semalign_pl.project.pairs import read_head

ANSWERS = ("output", "completion", "answer", "response")
"""Names of a column that holds what a model is to write."""
PROBED = 100
"""Maximum number of texts of the drift probe."""
ANCHORED = 5000
"""Maximum number of texts of the anchor: more take longer to read than training goes through."""
LEAST = 20
"""Minimum number of different texts in a file of general text: a fifth of them are the probe."""
_ANY = regex.compile(r"\S")
Kind = Literal["texts", "instructions", "own"]


@dataclass(frozen=True)
class General:
    """General text of a project.

    Attributes:
        kind: ``texts``, ``instructions`` or, without a file of general text, ``own``: the source side of the pairs.
        anchor: Texts of the anchor, one line each.
        probe: Texts of the drift probe, one line each; no other list has them.
        replay: Rows of ``prompt`` and ``completion``; empty if the texts themselves are replayed, or none is.
        guess: Line about what was read of the user's file, and as what; empty without one.
    """

    kind: Kind
    anchor: list[str]
    probe: list[str]
    replay: list[dict[str, str]]
    guess: str = ""


def read_general(file: str, seed: int, encoding: str | None = None) -> General:
    """Read general text: one text per row, or instructions with their answers.

    Args:
        file: File, as for ``data.init_args.train``.
        seed: Seed that draws the texts of the probe.
        encoding: Encoding of a text file, as for `read_head`.

    Raises:
        ValueError: If the file cannot be read, has no column of text, or has too few texts.
    """
    records = read_head(file, {}, encoding)
    columns = column_names(records)
    prose = [name for name in columns if share_of_text(records, name) > 0]
    if not prose:
        raise ValueError(
            f"--general: {file} has no column of text (of {', '.join(columns)}); give one text per line, or rows with "
            "a column for the instruction and one for the answer, such as prompt and completion"
        )
    # An answer may be a letter or a number, which is no prose.
    answers = (name for name in columns if name.lower() in ANSWERS and share_of_text(records, name, _ANY) > 0)
    answer = next(answers, None)
    prompts = [name for name in prose if name != answer]
    names = [*prompts, answer] if answer else prose
    rows, unreadable = _rows(file, names, frozenset(prompts), encoding)
    longest = max(prompts or names, key=lambda name: sum(len(row.get(name, "")) for row in rows))
    texts = _distinct_lines(row.get(longest, "") for row in rows)
    if len(texts) < LEAST:
        raise ValueError(f"--general: {file} has only {len(texts)} different texts; give {LEAST} or more")
    random.Random(f"{seed}/general").shuffle(texts)
    held_out = min(PROBED, len(texts) // 5)
    probe = texts[:held_out]
    replay = list[dict[str, str]]()
    if answer and prompts:
        kept_apart = set(probe)
        for row in rows:
            if _line(row.get(longest, "")) not in kept_apart:
                prompt = "\n".join(row[name] for name in prompts if row.get(name, "").strip())
                replay += [{"prompt": prompt, "completion": row[answer]}] if prompt else []
    kind: Kind = "instructions" if replay else "texts"
    anchor = _distinct_lines(texts, apart_from=probe)[:ANCHORED]
    what, only, used = f"column {longest!r} is text", "one text per line", [longest]
    if replay:
        used = names
        what = f"column {answer!r} is the answer, {', '.join(map(repr, prompts))} the question"
        only = "a file with the columns prompt and completion only"
    unused = ", ".join(name for name in columns if name not in used)
    what += f"; not used: {unused}" if unused else ""
    left_out = f"; {unreadable:,} rows that cannot be read are left out" if unreadable else ""
    guess = (
        f"{file}: {what}; of {len(texts):,} different texts, {len(anchor):,} are for the anchor and {len(probe):,} for "
        f"the drift probe; {len(replay or anchor):,} to replay{left_out}; to choose other columns, give {only}"
    )
    return General(kind, anchor, probe, replay, guess)


def own_text(train: Sequence[str], test: Sequence[str]) -> General:
    """Source side of the pairs, for a project without a file of general text.

    Args:
        train: Source texts of the training rows.
        test: Source texts of the test rows.
    """
    probe = _distinct_lines(test)[:PROBED]
    return General("own", _distinct_lines(train, apart_from=probe)[:ANCHORED], probe, [])


def _rows(
    file: str, names: Sequence[str], optional: frozenset[str], encoding: str | None
) -> tuple[Sequence[Mapping[str, str]], int]:
    """Rows of a file, and the number of those that cannot be read."""
    read = [row for _, row in stream(file, {name: name for name in names}, optional=optional, encoding=encoding)]
    rows = [row for row in read if not isinstance(row, BadRow)]
    if not rows:
        raise ValueError(f"--general: {file} has no readable row; look at it with semalign corpus {file}")
    return rows, len(read) - len(rows)


def _distinct_lines(texts: Iterable[str], apart_from: Iterable[str] = ()) -> list[str]:
    """Texts that are not blank, in one line each and once, without those of another list."""
    left_out = {"", *apart_from}
    return [line for line in dict.fromkeys(map(_line, texts)) if line not in left_out]


def _line(text: str) -> str:
    return " ".join(text.split())
