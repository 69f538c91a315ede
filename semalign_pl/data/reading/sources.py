"""Readers of corpora as rows of text: files of the usual formats, and datasets of the Hugging Face hub."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Collection, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from semalign_pl.data.reading.column_hint import PEEKED, suggest_columns
from semalign_pl.data.reading.fields import Fault, Missing, fault_of, is_blank, text_of, value_of
from semalign_pl.data.reading.formats import (
    BadRow,
    Counts,
    Quoting,
    SourceFile,
    bad_row,
    escape,
    find_source_files,
    quote,
    top_column,
)
from semalign_pl.data.reading.where_filter import WhereFilter

if TYPE_CHECKING:
    from semalign_pl.data.conversation import Chat

Row = dict[str, str] | BadRow
_NO_HEADER = '; its first line must name them, or name them by number, e.g. {zh: "1", bo: "2"}'


def read(source: str, columns: Mapping[str, str], split: str = "train") -> dict[str, dict[str, str]]:
    """Read a corpus and check every field of every row; the first bad row is an error.

    Text is returned exactly as it is in the file: it is not normalised, and not stripped.

    Args:
        source: Corpus to read: a file, a hub dataset or a folder, as for `stream`.
        columns: Name of the corpus' column for each wanted field, e.g. ``{"zh": "chinese", "bo": "tibetan"}``.
        split: Split of a hub dataset or folder, if ``source`` names none.

    Returns:
        Rows by id; each is a dict from field to text.

    Raises:
        ValueError: If the corpus cannot be used; the message says where, why, and what to change.
    """
    rows: dict[str, dict[str, str]] = {}
    for id, row in stream(source, columns, split):
        if isinstance(row, BadRow):
            raise ValueError(row.message)
        rows[id] = row
    return rows


def stream(
    source: str,
    columns: Mapping[str, str],
    split: str = "train",
    where: Mapping[str, object] | None = None,
    optional: Collection[str] = (),
    quoting: Quoting | None = None,
    counts: Counts | None = None,
    chat: Chat | None = None,
    languages: Mapping[str, str] | None = None,
    encoding: str | None = None,
) -> Iterator[tuple[str, Row]]:
    """Read a corpus of any length row by row.

    Args:
        source: Corpus to read, one of:

            - a file: ``.jsonl``; ``.json`` with an object per line, an array of objects, an object with such an array
              (``file.json#data``) or SQuAD's questions; ``.csv``; ``.tsv``; ``.txt`` with one text per line, which is
              the wanted column whatever its name; ``.tmx``. Each of these may be compressed (``.gz``, ``.bz2``,
              ``.xz``, ``.zst``) or in a ``.zip`` (``file.zip#member.tsv``). Also ``.parquet``, and ``.xlsx``
              (``file.xlsx#Sheet``);
            - a pattern of files such as ``dev/*.csv``;
            - plain text files paired line by line, such as ``train.{zh,bo}`` or ``*-{zh,bo}.txt``;
            - a hub dataset, ``owner/name:config@split``;
            - configurations of a hub dataset or folder joined by id, ``owner/name:{zho_Hans,bod_Tibt}@split``, each a
              nested column such as ``zho_Hans.text``;
            - a folder with the layout of a hub dataset, or written by ``save_to_disk``: ``folder:config@split``.
        columns: Name of the corpus' column for each wanted field, e.g. ``{"zh": "chinese", "bo": "tibetan"}``. A nested
            column is named by its path, such as ``translation.bo`` or ``answers.text.0`` (see `value_of`).
        split: Split of a hub dataset, a folder, or a .json file with several, if ``source`` names none.
        where: Filter on rows: each of these columns must have the given value, or one of the given values.
        optional: Names of fields that may be empty or missing; the row then lacks the field.
        quoting: Quoting of ``.csv`` and ``.tsv``: ``none`` if quotes around a cell are text, ``excel`` if they are not.
            If left out, CSV has Excel's quoting, and TSV has none unless the whole file shows otherwise.
        counts: Counts of lines by kind, updated while reading.
        chat: Converter of rows that hold a conversation.
        languages: Code of the language of each field that has one, by which columns are proposed if one is missing.
        encoding: Encoding of text files, such as ``gb18030``; if left out UTF-8, or UTF-16 by its byte-order mark.

    Yields:
        Id of a row, such as ``train.jsonl:17`` (the line it starts on in ``.jsonl``, ``.csv``, ``.tsv`` and plain
        text, else the 1-based row), and a dict from field to text, or a `BadRow` with the row's fault.

    Raises:
        ValueError: If the file cannot be used, or no row was read by its end.
    """
    chosen, empty = WhereFilter(where or {}), True
    counts = Counts() if counts is None else counts
    needed = [column for field, column in columns.items() if field not in optional]
    with _readable(source):
        for source_file in find_source_files(source, split, quoting, encoding):
            first = not source_file.sparse
            for number, record in source_file.read({*columns.values(), *chosen.values}, counts):
                row: Row
                if isinstance(record, BadRow):
                    row = record
                else:
                    try:
                        if not chosen(record):
                            counts.skipped += 1
                            continue
                        row = _row(record, columns, optional, chat)
                    except Fault as fault:
                        row = bad_row(source_file.source, number, str(fault), _raw(record))
                    if first and isinstance(row, BadRow) and _lacks_columns(record, needed, columns, chat):
                        # A column that the first row lacks is missing in the whole file.
                        lacking = [field for field in columns if top_column(record, columns[field]) is None]
                        lacking = [field for field in lacking if field not in optional]
                        if lacking and chat is None:
                            records = _first_records(source_file, {*columns.values(), *chosen.values})
                            remedy = suggest_columns(records or [record], lacking, columns, languages or {})
                            fault = _no_column(record, columns, lacking[0], remedy)
                            row = bad_row(source_file.source, number, fault, "")
                        raise ValueError(row.message + (_NO_HEADER if source_file.header else ""))
                    first = False
                empty = False
                if isinstance(row, BadRow):
                    counts.bad += 1
                else:
                    counts.good += 1
                yield f"{source_file.name}:{number}", row
    chosen.check(source)
    if empty and chosen.values:
        raise ValueError(f"{escape(source)}: no row has {chosen}; name a value that is there")
    if empty:
        raise ValueError(f"{escape(source)}: no rows in it; check that it was written to the end, or give another file")


def content_key(source: str, split: str = "train") -> str:
    """Hash of everything that `stream` would read, for caches: content of files, revision of a hub dataset.

    Args:
        source: Corpus, as for `stream`.
        split: Split, as for `stream`.

    Raises:
        ValueError: If the corpus cannot be read.
    """
    digest = hashlib.blake2b(digest_size=16)
    with _readable(source):
        for source_file in find_source_files(source, split):
            digest.update(source_file.revision().encode(errors="surrogateescape"))
            for path in source_file.files:
                with path.open("rb") as file:
                    while chunk := file.read(1 << 20):
                        digest.update(chunk)
                    digest.update(f"/{file.tell()}/".encode())  # so that moving bytes between files changes the hash
    return digest.hexdigest()


@contextlib.contextmanager
def _readable(source: str) -> Iterator[None]:
    """Turn an error of the file system into a ``ValueError`` of one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or escape(error)
        raise ValueError(f"{escape(source)}: cannot be read ({reason}); check its path and permissions") from error


def _lacks_columns(
    record: Mapping[str, object], needed: Collection[str], columns: Mapping[str, str], chat: Chat | None
) -> bool:
    lacks = any(top_column(record, column) is None for column in needed)
    return lacks or (chat is not None and chat.missing(record, columns) is not None)


def _row(
    record: Mapping[str, object], columns: Mapping[str, str], optional: Collection[str], chat: Chat | None
) -> dict[str, str]:
    """Wanted fields of a row, each checked to be a good text."""
    row = {} if chat is None else chat.row(record, columns)
    for field, column in columns.items():
        if field in optional and (chat is not None or _is_empty(record, column)):
            continue
        if isinstance(value := record.get(column), str) and fault_of(value) is None:  # nearly always
            row[field] = value
            continue
        if top_column(record, column) is None:
            raise Fault(_no_column(record, columns, field))
        row[field] = text_of(record, column, field)
    return row


def _raw(record: Mapping[str, object]) -> str:
    return ", ".join(f"{name}: {quote(value)}" for name, value in islice(record.items(), 20))


def _is_empty(record: Mapping[str, object], column: str) -> bool:
    """Return true if an optional field of a record is missing or empty."""
    if top_column(record, column) is None:
        return True
    try:
        return is_blank(value_of(record, column))
    except Missing:
        return True


def _no_column(record: Mapping[str, object], columns: Mapping[str, str], field: str, remedy: str = "") -> str:
    remedy = remedy or suggest_columns([record], [field], columns, {})
    names = escape(", ".join(record), 300)
    return f"no column {columns[field]!r} for the field {field}; the columns are {names}; {remedy}"


def _first_records(source_file: SourceFile, columns: set[str]) -> list[Mapping[str, object]]:
    """First good records of a file that lacks one of the columns, so that all its columns are read."""
    records = (record for _, record in islice(source_file.read(columns), PEEKED))
    return [record for record in records if not isinstance(record, BadRow)]
