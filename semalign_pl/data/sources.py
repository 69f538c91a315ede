"""Corpora as rows of text: a JSONL, CSV, TSV, Parquet or plain text file, or a dataset of the Hugging Face hub."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from semalign_pl.data import formats

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".txt", ".parquet")
_HUB_ID = re.compile(r"(?P<name>[\w-][\w.-]*/[\w.-]+)(:(?P<config>[\w.-]+))?(@(?P<split>[^@]+))?")


def read(source: str, columns: Mapping[str, str], split: str = "train") -> dict[str, dict[str, str]]:
    """Reads a corpus and checks every field of every row.

    The text is handed on as it stands in the file: no normalisation, no stripping.

    Args:
        source: A file (``.jsonl``, ``.json`` with an object a line, ``.csv``, ``.tsv``, ``.txt`` with one text a line
            under whatever column is wanted, each also ``.gz``, or ``.parquet``), a hub dataset ``owner/name``,
            ``owner/name:config`` or ``owner/name:config@split``, or a folder laid out like one.
        columns: The corpus' column of each field wanted, e.g. ``{"zh": "chinese", "bo": "tibetan"}``.
        split: The split of a hub dataset or folder, where ``source`` names none.

    Returns:
        Field to text of each row, under the row's id such as ``train.jsonl:17``: the line it starts on in a text
        file, else the 1-based row.

    Raises:
        ValueError: The corpus cannot be used; says where, why, and what to change.
    """
    name = Path(source).name
    try:
        rows = {
            f"{name}:{number}": _pick(record, columns, f"{source}:{number}")
            for number, record in _records(source, set(columns.values()), split)
        }
    except OSError as error:
        raise ValueError(f"{source}: cannot be read ({error.strerror}); check its path and permissions") from error
    if not rows:
        raise ValueError(f"{source}: no rows in it; check that it was written to the end, or give another file")
    return rows


def _records(source: str, columns: set[str], split: str) -> Iterator[formats.Record]:
    path = Path(source).expanduser()
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if path.is_dir():
        return formats.folder(path, split, columns)
    if not path.exists():
        return _from_hub(source, path, suffix, columns, split)
    if suffix in (".jsonl", ".json"):
        return formats.json_lines(path)
    if suffix in (".csv", ".tsv"):
        return formats.separated(path, delimiter="," if suffix == ".csv" else "\t")
    if suffix == ".txt":
        return formats.plain(path, columns)
    if path.suffix.lower() == ".parquet":
        return formats.parquet(path, columns)
    raise ValueError(
        f"{source}: unknown suffix {''.join(path.suffixes)!r}; rename or convert it to one of {', '.join(SUFFIXES)} "
        "(text also with .gz)"
    )


def _from_hub(source: str, path: Path, suffix: str, columns: set[str], split: str) -> Iterator[formats.Record]:
    """What does not exist here: a hub dataset if it can be one, else a mistyped path."""
    hub = _HUB_ID.fullmatch(source)
    if hub and suffix not in SUFFIXES and not path.parent.exists():
        return formats.hub(source, hub["name"], hub["config"], hub["split"] or split, columns)
    if not path.parent.is_dir():
        raise ValueError(f"{source}: no such file, nor is there a folder {path.parent}; paths start where you run from")
    neighbours = sorted(entry.name for entry in path.parent.iterdir())
    near = difflib.get_close_matches(path.name, neighbours, n=3) or neighbours[:5]
    there = f"did you mean {' or '.join(near)}?" if near else "the folder is empty"
    raise ValueError(f"{source}: no such file in {path.parent.absolute()}; {there}")


def _pick(record: Mapping[str, Any], columns: Mapping[str, str], where: str) -> dict[str, str]:
    """The wanted fields of a row, each a text that is not blank."""
    row: dict[str, str] = {}
    for field, column in columns.items():
        if column not in record:
            free = [name for name in record if name not in columns.values()] or [f"<column of {field}>"]
            guess = difflib.get_close_matches(field, free, n=1, cutoff=0.0)[0]
            raise ValueError(
                f"{where}: no column {column!r} for the field {field}; the columns are {', '.join(record)}; say which "
                f"one it is, e.g. data.init_args.columns: {{{field}: {guess}}}"
            )
        value = record[column]
        if not isinstance(value, str):
            wrong = f"not text but {value!r:.60} ({type(value).__name__})"
        elif not value.strip():
            wrong = f"empty ({value!r:.60})"
        elif re.search("[\ud800-\udfff]", value):
            wrong = f"not Unicode text, half a surrogate pair in {value!r:.60}"
        else:
            row[field] = value
            continue
        raise ValueError(f"{where}: {column!r}, the field {field}, is {wrong}; fill it in or drop the row")
    return row
