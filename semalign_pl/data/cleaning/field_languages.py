"""Check that a corpus' fields are in their languages: a column taken for another would train the wrong direction."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from semalign_pl.data.reading.column_hint import PEEKED, columns_in, count_texts, is_in_language
from semalign_pl.data.reading.formats import BadRow, escape, find_source_files, quote
from semalign_pl.languages import Language, get_language
from semalign_pl.languages.read import language_codes

if TYPE_CHECKING:
    from semalign_pl.data.cleaning.prepare import CorpusRequest

MOST_ROWS = 2_000
"""Maximum number of rows that are checked, at equal distances among the first rows of a corpus."""


def check_field_languages(request: CorpusRequest, rows: Sequence[Mapping[str, str]]) -> None:
    """Refuse a corpus of which a field is mostly in another language, with or without preparation.

    A text is in its language if at least half of its words are (`is_in_language`); names, labels and numbers alone tell
    nothing. In real corpora (MITRA, FLORES, UDHR, news, CMRC, CMMLU, Dzongkha user interfaces), 99 to 100 % of the
    texts are in their languages, and 0 % if the columns are exchanged, so half of them is a safe limit. Single rows in
    another language are left to ``prepare.script``; if that is null, nothing is checked.

    Args:
        request: Description of the corpus.
        rows: First rows of the corpus.

    Raises:
        ValueError: If most texts of a field are in another language; names the field, its column and the remedy.
    """
    if request.prepare is not None and request.prepare.script is None:
        return
    rows = rows[:: len(rows) // MOST_ROWS + 1]
    wrong: dict[str, str] = {}
    for field in dict.fromkeys([*request.fields, *request.languages]):
        if field not in request.languages:
            continue
        language = get_language(request.languages[field])
        inside, outside = count_texts(language, (row.get(field) for row in rows))
        if outside > inside:
            example = next(row[field] for row in rows if is_in_language(language, row.get(field, "")) is False)
            column = request.columns.get(field, field)
            wrong[field] = (
                f"{escape(request.source)}: the field {field}, column {escape(column, 60)}, is not in {language.name}: "
                f"{outside:,} of {inside + outside:,} texts are not, such as {quote(example[:30])}"
            )
    if wrong:
        first = next(iter(wrong))
        texts = [row[first] for row in rows if first in row]
        raise ValueError(f"{wrong[first]}; {_remedy(request, list(wrong), texts)}")


def _remedy(request: CorpusRequest, wrong: Sequence[str], texts: Sequence[str]) -> str:
    """Columns to name instead for the wrong fields, or else the language of the first field's texts."""
    records = [] if request.chat else _records(request)
    taken = {column for field, column in request.columns.items() if field not in wrong}
    columns: dict[str, str] = {}
    for field in wrong:
        free = columns_in(get_language(request.languages[field]), records, taken | {*columns.values()})
        if free:
            columns[field] = free[0]
    if len(columns) == len(wrong):
        pairs = ", ".join(f"{field}: {escape(column, 60)}" for field, column in columns.items())
        return f"set data.init_args.columns: {{{pairs}}}"
    place = "in data.init_args.task.init_args"
    wanted = get_language(request.languages[wrong[0]]).code
    actual = _language_of(texts, wanted)
    if actual is None:
        return f"name another column in data.init_args.columns, or the language of this one {place}"
    if actual.code.split("-")[0] == wanted.split("-")[0]:
        return f"in this script the code is {actual.code}; name it {place}"
    return f"it is {actual.name}: name another column in data.init_args.columns, or the language {actual.code} {place}"


def _records(request: CorpusRequest) -> list[Mapping[str, object]]:
    """First good records of the corpus, with all their columns; none if it has no names of columns."""
    if any(column.isdecimal() for column in request.columns.values()):
        return []
    records = list[Mapping[str, object]]()
    with contextlib.suppress(ValueError, OSError):  # the rows were read, so the fault is elsewhere in the corpus
        for source_file in find_source_files(request.source, request.split, request.quoting, request.encoding):
            # A column that no file has makes every reader read all columns.
            found = itertools.islice(source_file.read({"\0"} if not source_file.plain else set()), PEEKED)
            records += [record for _, record in found if not isinstance(record, BadRow)]
            if len(records) >= PEEKED:
                break
    return records


def _language_of(texts: Sequence[str], wanted: str) -> Language | None:
    """Language that most texts are in; one with the same name in another script is preferred."""
    codes = sorted(language_codes(), key=lambda code: code.split("-")[0] != wanted.split("-")[0])
    counts = {code: count_texts(get_language(code), texts[:PEEKED]) for code in codes if code != wanted}
    return next((get_language(code) for code, (inside, outside) in counts.items() if inside > outside), None)
