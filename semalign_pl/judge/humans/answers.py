"""Files of answers that a page for readers has exported."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from semalign_pl.files.documents import read_json
from semalign_pl.judge.humans.blinding import ShownPair, blind, page_digest, pairs_digest
from semalign_pl.judge.pairs import Pair
from semalign_pl.judge.records import Judgement, Winner

FORMAT = "semalign-answers-1"
LONGEST_NAME = 100
"""Longest name of a reader, in characters."""
LONGEST_COMMENT = 2_000
"""Longest comment, in characters."""
CHOICES = ("first", "second", "tie")
AGAIN = "export the answers again from the page"

T = TypeVar("T")


def read_answers(file: Path, pairs: Sequence[Pair]) -> list[Judgement]:
    """Read the answers of one reader, with the sides in the place of first and second.

    Args:
        file: File that a page has exported.
        pairs: Pairs that the page was made from, in any order.

    Raises:
        ValueError: If the file cannot be read, is of other pairs, or was changed since; names file, item and field.
    """
    answers = read_json(file, AGAIN)
    if not isinstance(answers, dict) or answers.get("format") != FORMAT:
        raise ValueError(
            f"{file}: format: is not {FORMAT}; give a file that the page of semalign judge --humans has exported"
        )
    digest, rubric = pairs_digest(pairs), _get(answers, "rubric", str, f"{file}")
    if answers.get("pairs") != digest:
        raise ValueError(
            f"{file}: pairs: {answers.get('pairs')!r} is the digest of other pairs, those given have {digest!r}; give "
            "the two files of answers that its page was made from, in the same order"
        )
    seed, reader = _get(answers, "seed", int, f"{file}"), _get(answers, "reader", str, f"{file}").strip()
    page = page_digest(digest, seed, rubric)
    if answers.get("page") != page:
        raise ValueError(f"{file}: page: {answers.get('page')!r} does not fit to its seed and rubric; {AGAIN}")
    if not reader:
        raise ValueError(f"{file}: reader: is blank; write the reader's name in the page, and {AGAIN}")
    shown = {one.pair.id: one for one in blind(pairs, seed)}
    found: dict[str, Judgement] = {}
    for number, row in enumerate(_get(answers, "answers", list, f"{file}"), start=1):
        where = f"{file}: answer {number}"
        judgement = _judgement(row, where, shown, page, rubric, reader)
        if judgement.id in found:
            raise ValueError(f"{where}: id: {judgement.id!r} has an answer before; {AGAIN}")
        found[judgement.id] = judgement
    if not found:
        raise ValueError(f"{file}: answers: there are none; answer some pairs in the page, and {AGAIN}")
    return list(found.values())


def _judgement(
    row: object, where: str, shown: Mapping[str, ShownPair], page: str, rubric: str, reader: str
) -> Judgement:
    if not isinstance(row, dict):
        raise ValueError(f"{where}: is no object; {AGAIN}")
    id = _get(row, "id", str, where)
    if id not in shown:
        raise ValueError(f"{where}: id: there is no pair {id!r}; {AGAIN}")
    where = f"{where} ({id})"
    choice, comment = _get(row, "choice", str, where), _get(row, "comment", str, where)
    if choice not in CHOICES:
        raise ValueError(f"{where}: choice: {choice!r} is none of {', '.join(CHOICES)}; {AGAIN}")
    if row.get("check") != checksum(page, reader, id, choice, comment):
        raise ValueError(
            f"{where}: check: {row.get('check')!r} does not fit to reader, choice and comment, so one of them was "
            f"changed or damaged; {AGAIN}"
        )
    first = shown[id].first
    second = "b" if first == "a" else "a"
    sides: dict[str, Winner] = {"first": first, "second": second, "tie": "tie"}
    return Judgement(id, reader, rubric, first, sides[choice], comment or None)


def checksum(*fields: str) -> str:
    """CRC-32 of fields, as the page computes it: finds damage and changes by hand, not a forger."""
    return f"{zlib.crc32(chr(0x1F).join(fields).encode('utf-8', 'replace')):08x}"


def _get(row: Mapping[str, object], name: str, kind: type[T], where: str) -> T:
    value = row.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        known = {str: "a text", int: "a whole number", list: "a list"}[kind]
        raise ValueError(f"{where}: {name}: {str(value)[:60]!r} is not {known}; {AGAIN}")
    return value
