"""Pairs of a file: its two columns and their languages, as the user names them or as their texts show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semalign_pl.data.cleaning.preparation import Preparation
from semalign_pl.data.cleaning.prepare import CorpusRequest, prepare
from semalign_pl.data.storing.cache import PreparationReport
from semalign_pl.data.tasks import Translation
from semalign_pl.inspection.columns import Record, check_columns, column_names, guess_language, peek, share_of_text
from semalign_pl.inspection.tokens import TokenCounter
from semalign_pl.languages import get_language

FILLED = 0.3
"""Minimum share of rows in which a column of pairs has text: notes are rarer, and some rows are not translated yet."""
HEADER_UNITS = 5
"""Minimum number of units of a column's name from which it may be a row of text: a file without a header."""
COMPARED = 200
"""Number of rows whose lengths are compared with that of the header."""
_NEEDS_NO_QUOTES = re.compile(r"[\w=,./:-]+")  # letters of any script, which `shlex.quote` would put in quotes


@dataclass(frozen=True)
class Columns:
    """Columns of one file that hold the pairs.

    Attributes:
        names: Column of each language, by its code: the source, then the target.
        guessed: True if the columns are guessed.
        ignored: Names of the columns that are not used.
        ratio: Tokens of the target per token of the source for the same rows; 0 if it was not measured.
        numbers: Number of each column by code if the names may be a pair, as in a file without a header; else empty.
    """

    names: Mapping[str, str]
    guessed: bool
    ignored: tuple[str, ...] = ()
    ratio: float = 0.0
    numbers: Mapping[str, str] = field(default_factory=dict)

    @property
    def flag(self) -> str:
        """Flag that names these columns, as it is typed in a shell."""
        return make_flag(self.names)

    @property
    def exchanged(self) -> str:
        """Flag that exchanges source and target, as it is typed in a shell."""
        return make_flag(dict(reversed(list(self.names.items()))))


def make_flag(names: Mapping[str, str]) -> str:
    """Flag that names columns, as it is typed in a shell.

    Args:
        names: Column of each language, by its code: the source, then the target.
    """
    value = ",".join(f"{code}={name}" for code, name in names.items())
    return f"--columns {value if _NEEDS_NO_QUOTES.fullmatch(value) else shlex.quote(value)}"


def read_head(file: str, named: Mapping[str, str], encoding: str | None = None) -> list[Record]:
    """First records of a file.

    Args:
        file: File, as for ``data.init_args.train``.
        named: Names of columns by field; empty for all.
        encoding: Encoding of a text file; ``None`` for UTF-8, or UTF-16 with a byte-order mark.

    Raises:
        ValueError: If the file cannot be read.
    """
    try:
        return peek(CorpusRequest(file, named, encoding=encoding))
    except ValueError as error:
        if encoding is None and "encoding: gb18030" in str(error):
            raise ValueError(f"{error}; for this command, e.g. --encoding gb18030") from error
        raise


def find_columns(file: str, named: Mapping[str, str], tokens: TokenCounter, encoding: str | None = None) -> Columns:
    """Find the two columns of a file that hold the pairs.

    Without names, the language of each column is that of its text. The target is the language that takes most tokens
    for the same content, because that is the one which the base knows least. The source is the one that most of the
    target's rows have.

    Args:
        file: File, as for ``data.init_args.train``.
        named: Column of each language by code, source first; empty to guess.
        tokens: Tokenizer of the base.
        encoding: Encoding of a text file, as for `read_head`.

    Raises:
        ValueError: If the file cannot be read, lacks a named column, or has no columns in two languages.
    """
    records = read_head(file, named, encoding)
    names = column_names(records)
    if named:
        check_columns(file, records, named.values())
        return Columns(named, guessed=False, ignored=_others(names, named))
    texts: dict[str, list[str]] = {}
    for name in names:
        if share_of_text(records, name) >= FILLED:
            texts[name] = [text for record in records if isinstance(text := record.get(name), str) and text.strip()]
    longest: dict[str, str] = {}
    for name in sorted(texts, key=lambda name: -sum(map(len, texts[name]))):
        if language := guess_language(name, texts[name]):
            longest.setdefault(language.code, name)  # of two columns in a language, notes are the shorter ones
    if len(names) == 1:
        raise ValueError(
            f"{file}: it has a single column, {names[0]!r}, and pairs need two; save it as .xlsx, as .tsv with a tab "
            "between the cells, or as .csv with a comma"
        )
    if len(longest) < 2:
        seen = ", ".join(f"{name} is {code}" for code, name in longest.items()) or "none has text in a known language"
        raise ValueError(
            f"{file}: no columns in two languages (of {', '.join(names)}; {seen}); name them, source first, e.g. "
            f"--columns zh={names[0]},bo={names[-1]}"
        )
    in_order = {code: name for name in names for code, held in longest.items() if held == name}
    source, target, ratio = _choose_direction(records, in_order, tokens)
    chosen = {code: in_order[code] for code in (source, target)}
    numbers = {code: str(names.index(name) + 1) for code, name in chosen.items()}
    if not _are_in_their_languages(chosen):
        return Columns(chosen, True, _others(names, chosen), ratio)
    if _are_as_long(chosen, texts):
        return Columns(numbers, True, (), ratio)
    return Columns(chosen, True, _others(names, chosen), ratio, numbers)


def _others(names: Sequence[str], chosen: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(name for name in names if name not in chosen.values())


def _choose_direction(
    records: Sequence[Record], columns: Mapping[str, str], tokens: TokenCounter
) -> tuple[str, str, float]:
    """Source, target, and tokens of the target per token of the source in rows that have both.

    A row may lack some of the languages, so each is compared with the mean of the rows that it is in.
    """
    texts = ([str(record.get(name) or "").strip() for record in records] for name in columns.values())
    counts = zip(*([len(ids) for ids in tokens.encode(column)] for column in texts), strict=True)
    rows = [{code: count for code, count in zip(columns, row, strict=True) if count} for row in counts]
    rows = [row for row in rows if len(row) > 1]

    def relative_length(code: str) -> float:
        own = [row for row in rows if code in row]
        return sum(row[code] for row in own) / max(1e-9, sum(sum(row.values()) / len(row) for row in own))

    target = max(columns, key=relative_length)
    shared = {code: [row for row in rows if {code, target} <= row.keys()] for code in columns if code != target}
    source = max(shared, key=lambda code: len(shared[code]))
    ratio = sum(row[target] for row in shared[source]) / max(1, sum(row[source] for row in shared[source]))
    return source, target, ratio


def _are_in_their_languages(chosen: Mapping[str, str]) -> bool:
    """Return true if the name of each column is in the language of its texts: it may be a text itself."""
    return all(get_language(code).share(name) >= 0.5 for code, name in chosen.items())


def _are_as_long(chosen: Mapping[str, str], texts: Mapping[str, Sequence[str]]) -> bool:
    """Return true if the names of the columns are about as long as the texts below them."""
    for code, name in chosen.items():
        language = get_language(code)
        lengths = sorted(len(language.segment(text)) for text in texts[name][:COMPARED])
        if len(language.segment(name)) < max(HEADER_UNITS, lengths[len(lengths) // 2] / 3):
            return False
    return True


@dataclass(frozen=True)
class Pairs:
    """Pairs of one file after cleaning.

    Attributes:
        rows: Id and text by language of each row that is kept, in normal form.
        report: Numbers of rows read, kept and dropped.
        dropped: Lines of JSON, one per row that is dropped.
    """

    rows: list[dict[str, str]]
    report: PreparationReport
    dropped: str


def read_pairs(file: str, columns: Columns, cache: Path, encoding: str | None = None) -> Pairs:
    """Read and clean the pairs of a file, as training with ``prepare: {}`` does.

    Rows that cannot be read, such as those without a translation, are dropped and listed like the others.

    Args:
        file: File, as for ``data.init_args.train``.
        columns: Columns of the file.
        cache: Folder for intermediate files.
        encoding: Encoding of a text file, as for `read_head`.

    Raises:
        ValueError: If the file cannot be read, or no row is left.
    """
    source, target = columns.names
    task = Translation(source, target, "{source}")
    names = dict(zip(task.fields, columns.names.values(), strict=True))
    request = CorpusRequest(
        source=file,
        columns=names,
        fields=task.fields,
        languages=task.languages,
        pair=(task.fields[0], task.fields[1]),
        prepare=Preparation(),
        bad_rows="quarantine",
        encoding=encoding,
    )
    prepared = prepare(request, cache=cache)
    dropped = (prepared.folder / "dropped.jsonl").read_text(encoding="utf-8")
    return Pairs([dict(row) for row in prepared.table], prepared.report, dropped)
