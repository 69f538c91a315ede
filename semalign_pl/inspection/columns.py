"""Columns of a file that are counted, and their languages: as the user names them, or guessed from the first rows."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import regex

from semalign_pl.data.cleaning.prepare import CorpusRequest
from semalign_pl.data.conversation import Conversation, holds_turns
from semalign_pl.data.reading.formats import BadRow, find_source_files, top_column
from semalign_pl.inspection.column import Column
from semalign_pl.inspection.rows import Corpus, fields_of, rows
from semalign_pl.inspection.tokens import TokenCounter
from semalign_pl.languages import Language, get_language
from semalign_pl.languages.read import language_codes

PEEKED = 1000
"""Number of good records from which text columns and their languages are guessed."""
LOOKED_AT = 10_000
"""Maximum number of records, good or bad, to read in search of ``PEEKED`` good ones."""
FILLED = 0.9
"""Minimum share of those records in which a text column holds text."""
SAMPLED_CHARACTERS = 200_000
"""Maximum number of characters of a column, equal shares of those records, from which its language is guessed."""
LEAST = 0.5
"""Minimum share of a column's words that belong to its guessed language."""

# One letter before the white space, not a run of them: each letter of a long run would start a search of its own.
_TEXT = regex.compile(r"[\p{L}--\p{ASCII}]|\p{L}\s+\p{L}", regex.V1)
_LETTER = regex.compile(r"\p{L}")

Record = Mapping[str, object]


def choose_columns(
    file: CorpusRequest, tokens: TokenCounter | None
) -> tuple[Corpus, dict[str, Column], dict[str, float]]:
    """Choose what is counted of a file.

    Args:
        file: File to read, with the columns and languages that the user names.
        tokens: Tokenizer of the model; ``None`` to count no tokens.

    Returns:
        Corpus to read, columns to count by field, and the share of text in each column that is left out.

    Raises:
        ValueError: If the file cannot be read, lacks a named column, or has no text.
    """
    records = peek(file)
    if not file.columns and holds_turns(records[0]):
        task = Conversation()
        wanted, chat = task.columns_to_read("test", {}), task.chat("test")
        file = replace(file, columns=wanted, optional=task.optional, fields=task.fields, chat=chat)
    guessed = not file.columns
    if not guessed:
        check_columns(file.source, records, [c for field, c in file.columns.items() if field not in file.optional])
    named = dict(file.columns) or {name: name for name in text_columns(file.source, records)}
    others = {name: share_of_text(records, name) for name in column_names(records) if name not in named.values()}
    if file.chat or not set(named.values()) <= set(column_names(records)):  # records do not hold the texts yet
        named = {field: named.get(field, field) for field in fields_of(file)}
        records = [
            {named[field]: text for field, text in row.items()}
            for _, row in itertools.islice(rows(Corpus(file)), PEEKED)
        ]
    columns, languages = {}, {}
    for field, column in named.items():
        texts = [text for record in records if isinstance(text := record.get(column), str)]
        code = file.languages.get(field)
        language = get_language(code) if code else guess_language(column, texts)
        columns[field] = Column(column, language, tokens)
        if language:
            languages[field] = code or language.code
    if file.fields:  # the file is a recipe's: the task sets the fields to compare and their languages
        fields = tuple(field for field in file.fields if field in named)
        return Corpus(replace(file, fields=fields)), columns, others
    # Two columns in two languages are a translation corpus; its preparation also compares their lengths.
    pair = (*named,) if len(named) == 2 and len({*languages.values()}) == 2 else None
    made = replace(file, columns=named, fields=tuple(named), languages=languages, pair=pair)
    return Corpus(made, guessed), columns, others


def peek(request: CorpusRequest) -> list[Record]:
    """First good records of a file, with all their columns.

    Args:
        request: File to read.

    Raises:
        ValueError: If the file cannot be read or has no good record.
    """
    records: list[Record] = []
    fault = None
    try:
        for record in itertools.islice(_records(request), LOOKED_AT):
            if isinstance(record, BadRow):
                fault = fault or record.message
            else:
                records.append(record)
                if len(records) == PEEKED:
                    break
    except OSError as error:
        raise ValueError(f"{request.source}: cannot be read ({error.strerror}); check its path") from error
    if not records:
        none = f"{request.source}: no rows in it; check that it was written to the end, or give another file"
        raise ValueError(fault or none)
    return records


def _records(request: CorpusRequest) -> Iterator[Record | BadRow]:
    for source_file in find_source_files(request.source, request.split, request.quoting, request.encoding):
        # Without named columns, a plain text file calls its only column "text". Other formats are asked for a column
        # that no file has, which makes them read all; asked for "text", Parquet would leave out the others.
        for _, record in source_file.read(set(request.columns.values()) or ({"text"} if source_file.plain else {"\0"})):
            yield record


def column_names(records: Sequence[Record]) -> list[str]:
    """Columns of the records, in order of first occurrence."""
    return list(dict.fromkeys(name for record in records for name in record))


def text_columns(source: str, records: Sequence[Record]) -> list[str]:
    """Columns that hold text, in the file's order.

    Columns of numbers, codes or one-word Latin labels are left out, and columns that are mostly blank. If no column
    is left, columns of single Latin words count as text.

    Args:
        source: Name of the file, for the message.
        records: First good records.

    Raises:
        ValueError: If no column holds text.
    """
    names = column_names(records)
    for pattern in (_TEXT, _LETTER):
        chosen = [name for name in names if name in records[0] and share_of_text(records, name, pattern) >= FILLED]
        if chosen:
            return chosen
    raise ValueError(f"{source}: no column holds text (they are {', '.join(names)}); name one with --columns")


def share_of_text(records: Sequence[Record], name: str, pattern: regex.Pattern[str] = _TEXT) -> float:
    """Share of the records in which a column is a non-blank string; 0 unless most of those match ``pattern``.

    Args:
        records: First good records.
        name: Name of the column.
        pattern: Pattern that occurs in text, but not in codes and labels.
    """
    values = [record.get(name) for record in records]
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    telling = sum(pattern.search(text) is not None for text in texts)
    return len(texts) / len(values) if 2 * telling > len(texts) else 0.0


def check_columns(source: str, records: Sequence[Record], columns: Iterable[str]) -> None:
    """Check that every column occurs in the records.

    Args:
        source: Name of the file, for the message.
        records: First good records.
        columns: Columns that must occur.

    Raises:
        ValueError: If a column occurs in no record; the message lists the columns that do.
    """
    names = column_names(records)
    for column in columns:
        if top_column(names, column) is None:
            suggested = difflib.get_close_matches(column, names, n=1)
            hint = f"; did you mean {suggested[0]}?" if suggested else ""
            raise ValueError(f"--columns: {source} has no column {column!r}; its columns are {', '.join(names)}{hint}")


def guess_language(column: str, texts: Sequence[str]) -> Language | None:
    """Language with the largest share of words; among equals, the one the column is named after, else the first.

    Args:
        column: Name of the column.
        texts: Sample of its texts.

    Returns:
        Language, or ``None`` if no language has half of the words.
    """
    share = SAMPLED_CHARACTERS // max(1, len(texts))
    joined, named = "\n".join(text[:share] for text in texts), column.lower().replace("_", "-")
    ranked = [
        (round(get_language(code).share(joined), 2), code.lower() == named, -i)
        for i, code in enumerate(language_codes())
    ]
    best, _, place = max(ranked)
    return get_language(language_codes()[-place]) if best >= LEAST else None
