"""Columns proposed for fields that a file lacks: by the language of the columns' text, else by their names."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence

from semalign_pl.data.reading.fields import nested_place
from semalign_pl.data.reading.formats import escape
from semalign_pl.languages import Language, get_language

PEEKED = 100
"""Number of records from which the languages of a file's columns are read."""
CHARACTERS = 500
"""Number of characters of a text from which its language is read."""

Record = Mapping[str, object]


def is_in_language(language: Language, text: str) -> bool | None:
    """Return true if at least half of a text's words are in a language; ``None`` if it has too few words to tell.

    A name, a label or a number tells nothing: ``None`` is returned for a text without words of the language and with at
    most one foreign word. Words are counted as in `Language.count_units`.

    Args:
        language: Language of the text.
        text: Text; its first `CHARACTERS` characters are read.
    """
    own, foreign = language.count_units(text[:CHARACTERS])
    return None if not own and len(foreign) < 2 else own >= len(foreign)


def count_texts(language: Language, texts: Iterable[object]) -> tuple[int, int]:
    """Number of texts in a language, and of texts in another one.

    Args:
        language: Language of the texts.
        texts: Texts; other values are ignored.
    """
    verdicts = [is_in_language(language, text) for text in texts if isinstance(text, str)]
    return verdicts.count(True), verdicts.count(False)


def columns_in(language: Language, records: Sequence[Record], taken: Collection[str]) -> list[str]:
    """Columns whose texts are mostly in a language, those with most such texts first.

    Args:
        language: Wanted language.
        records: Records with all their columns.
        taken: Columns to leave out.
    """
    names = dict.fromkeys(name for record in records for name in record if name and name not in taken)
    counts = {name: count_texts(language, (record.get(name) for record in records)) for name in names}
    chosen = [name for name, (inside, outside) in counts.items() if inside > outside]
    return sorted(chosen, key=lambda name: -counts[name][0])


def suggest_columns(
    records: Sequence[Record], missing: Sequence[str], columns: Mapping[str, str], languages: Mapping[str, str]
) -> str:
    """End of a message that proposes a column for each field whose column is missing.

    A field with a language gets a column with text in this language. If texts are too short to tell, or the field has
    no language, it gets the column with the most similar name.

    Args:
        records: First records of the file, with all their columns; at least one.
        missing: Fields whose column is missing.
        columns: Name of the column of each wanted field.
        languages: Code of the language of each field that has one.
    """
    taken = {column for field, column in columns.items() if field not in missing}
    chosen: dict[str, str] = {}
    for field in sorted(missing, key=lambda field: field not in languages):
        free = [name for name in itertools.islice(records[0], 100) if name and name not in taken]
        place = nested_place(records[0], columns[field]) or nested_place(records[0], field)
        if place is None and field in languages:
            language = get_language(languages[field])
            inside = columns_in(language, records, taken)
            place = difflib.get_close_matches(columns[field], inside, n=1, cutoff=0.0)[0] if inside else None
            if place is None and any(_has_other_text(language, records, name) for name in free):
                name = language.name
                return f"none of them has {name} text; give the file that has it, or set the languages of the task"
        names = free or [f"<column of {field}>"]
        chosen[field] = place or difflib.get_close_matches(columns[field], names, n=1, cutoff=0.0)[0]
        taken.add(chosen[field])
    pairs = ", ".join(f"{field}: {escape(chosen[field], 60)}" for field in missing)
    return f"say which one it is, e.g. data.init_args.columns: {{{pairs}}}"


def _has_other_text(language: Language, records: Sequence[Record], name: str) -> bool:
    return count_texts(language, (record.get(name) for record in records))[1] > 0
