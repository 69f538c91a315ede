"""Preparation of a corpus: from files to a table of prepared rows on disk, once for the same content and settings."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from semalign_pl.data.cleaning.exact_leaks import Texts
from semalign_pl.data.cleaning.field_languages import check_field_languages
from semalign_pl.data.cleaning.near_duplicates import mark_near_duplicates
from semalign_pl.data.cleaning.preparation import Cleaner, Drop, Preparation
from semalign_pl.data.cleaning.row_filter import HEAD, RowFilter, evaluation_texts, mark_rows, take
from semalign_pl.data.conversation import TURNS, Chat
from semalign_pl.data.progress import track_rows
from semalign_pl.data.reading import sources
from semalign_pl.data.reading.fields import texts_in
from semalign_pl.data.reading.formats import BadRow, Counts, Quoting, find_source_files
from semalign_pl.data.reading.licence import find_licence
from semalign_pl.data.storing.cache import (
    CACHE,
    PreparationReport,
    Prepared,
    format_counts,
    get_or_make,
    open_prepared,
)
from semalign_pl.data.storing.table import Table, TableWriter
from semalign_pl.files.digest import digest

FORMAT = 3
"""Number of the format of prepared and tokenised corpora, part of the name of each cache entry.

Raise it in a change after which the same corpus and settings give other rows, reasons or tokens. The languages' data
and the settings are part of the name anyway.
"""

BadRows = Literal["error", "quarantine"]


@dataclass(frozen=True)
class CorpusRequest:
    """Description of a corpus and of its preparation.

    Attributes:
        source: File or hub dataset.
        columns: Name of the corpus' column for each field.
        optional: Names of fields that may be empty or missing.
        split: Split of a hub dataset.
        where: Filter on rows: value, or values, that each of these columns must have.
        quoting: Quoting of .csv and .tsv files.
        encoding: Encoding of text files.
        fields: Names of the task's fields, in its order.
        languages: Code of the language of each field that has one.
        pair: Names of two fields with the same content in two languages.
        prepare: Settings of the preparation; ``None`` to take the rows as they are.
        filters: True if rows may be dropped (training); else they are only converted to normal form.
        bad_rows: Treatment of rows that cannot be read: ``error``, or ``quarantine`` to list them with dropped rows.
        chat: Converter of rows that hold a conversation.
    """

    source: str
    columns: Mapping[str, str]
    optional: frozenset[str] = frozenset()
    split: str = "train"
    where: Mapping[str, object] | None = None
    quoting: Quoting | None = None
    encoding: str | None = None
    fields: tuple[str, ...] = ()
    languages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pair: tuple[str, str] | None = None
    prepare: Preparation | None = None
    filters: bool = True
    bad_rows: BadRows = "error"
    chat: Chat | None = None

    def stream(self, counts: Counts) -> Iterator[tuple[str, sources.Row]]:
        """Read the corpus row by row.

        Args:
            counts: Counts of lines by kind, updated while reading.

        Yields:
            Id of a row, and its fields or its fault, as from `sources.stream`.

        Raises:
            ValueError: If the corpus cannot be read.
        """
        named = (self.source, self.columns, self.split, self.where, self.optional, self.quoting)
        return sources.stream(*named, counts=counts, chat=self.chat, languages=self.languages, encoding=self.encoding)


def prepare(
    request: CorpusRequest, evaluation: Sequence[Prepared] = (), cache: Path = CACHE, workers: int = 0
) -> Prepared:
    """Read and clean a corpus and write it to the cache, or take it from the cache.

    Args:
        request: Description of the corpus and of its preparation.
        evaluation: Prepared corpora whose rows the corpus must not repeat.
        cache: Folder of all prepared corpora.
        workers: Number of worker processes that clean and compare; 0 for this process alone. The result does not depend
            on it.

    Raises:
        ValueError: If the corpus cannot be read, a field has the name ``id``, a row is bad and ``bad_rows`` is
            ``error``, or no row is left.
    """
    if "id" in request.columns:
        raise ValueError(
            f"{request.source}: a field cannot be called id, which is the name of a row's own; rename the column or "
            "placeholder, or give the language another code, such as ind in a .yaml file of your own"
        )
    settings = request.prepare if request.filters else None
    against = settings.against if settings else []
    held_out = evaluation if settings and settings.decontaminate else ()
    identity = [
        FORMAT,
        sources.content_key(request.source, request.split),
        repr(dataclasses.replace(request, optional=frozenset())),
        sorted(request.optional),
        # The languages' data too: a changed normal form or alphabet changes the rows.
        repr(Cleaner.of(request.prepare, request.languages)) if request.prepare else "",
        [prepared.folder.name for prepared in held_out],
        [sources.content_key(file, "test") for file in against],
    ]
    folder = get_or_make(
        cache / digest(*identity), lambda made: _CorpusPreparation(request, held_out, workers).write(made)
    )
    return open_prepared(folder)


class _CorpusPreparation:
    """Preparation of one corpus in one pass."""

    def __init__(self, request: CorpusRequest, held_out: Sequence[Prepared], workers: int) -> None:
        self.request, self.held_out, self.workers = request, held_out, workers
        self.settings = request.prepare if request.filters else None
        self.columns = [*(request.chat.columns if request.chat else ()), *request.columns]
        self.fields = [name for name in request.fields if name in self.columns]
        self.counts, self.dropped = Counts(), Counter[str]()

    def write(self, folder: Path) -> PreparationReport:
        """Write the table of rows and the list of dropped rows to a folder, and return the report."""
        with (folder / "dropped.jsonl").open("w", encoding="utf-8") as self._list:
            with TableWriter(folder / "rows.arrow", columns=self.columns) as writer:
                for row in track_rows(self._read_kept_rows(), f"preparing {self.request.source}"):
                    writer.write(row)
            if self.settings and self.settings.near_duplicates is not None:
                self._drop_near_duplicates(folder / "rows.arrow", self.settings.near_duplicates)
        read = self.counts.good + self.counts.bad
        kept = read - self.dropped.total()
        if not read:
            raise ValueError(
                f"{self.request.source}: no rows in it; check that it was written to the end, or give another file"
            )
        if not kept:
            first = (folder / "dropped.jsonl").read_text(encoding="utf-8").split("\n")[0]
            raise ValueError(
                f"{self.request.source}: none of its {read} rows is left: {format_counts(self.dropped)}; change "
                f"data.init_args.prepare or the file. The first: {first[:300]}"
            )
        report: PreparationReport = {
            "source": self.request.source,
            "lines": self.counts.lines,
            "blank": self.counts.blank,
            "header": self.counts.header,
            "continued": self.counts.continued,
            "skipped": self.counts.skipped,
            "read": read,
            "kept": kept,
            "dropped": dict(self.dropped.most_common()),
            "prepare": dataclasses.asdict(self.request.prepare) if self.request.prepare else None,
            "bad_rows": self.request.bad_rows,
        }
        if licence := find_licence(self.request.source):
            report["licence"] = licence
        return report

    def _read_kept_rows(self) -> Iterator[dict[str, str]]:
        rows = self._readable()
        head = take(rows, HEAD)
        rows = itertools.chain(head, rows)
        first, preparation = [row for _, row in head], self.request.prepare
        if preparation is None:
            check_field_languages(self.request, first)
            yield from ({"id": id, **row} for id, row in rows)
            return
        cleaner = Cleaner.of(preparation, self.request.languages, self.request.pair)
        cleaner.check_encoding(first, self.request.source)
        check_field_languages(self.request, first)
        if self.settings is None:
            yield from ({"id": id, **cleaner.normal(row)} for id, row in rows)
            return
        row_filter = RowFilter.of(cleaner, self.fields, head, self._evaluation())
        for _, marked in mark_rows(row_filter, rows, self.workers):
            for row in marked:
                if row.drop is None:
                    yield {"id": row.id, **row.row}
                else:
                    self._drop(row.id, row.drop, row.row)

    def _readable(self) -> Iterator[tuple[str, dict[str, str]]]:
        for id, row in self.request.stream(self.counts):
            if not isinstance(row, BadRow):
                yield id, row
            elif self.request.bad_rows == "error":
                raise ValueError(row.message)
            else:
                self._drop(id, Drop("bad_row", row.message), row.raw)

    def _evaluation(self) -> Iterator[tuple[str, Texts]] | None:
        """Id and texts of the rows that this corpus must not repeat; ``None`` if there are none."""
        against = self.settings.against if self.settings else []
        if not (self.held_out or against):
            return None
        tables = (prepared.table for prepared in self.held_out)
        columns = ([name for name in table.columns if name not in ("id", TURNS)] for table in tables)
        held_out = (
            evaluation_texts(self.fields, names, prepared.table)
            for prepared, names in zip(self.held_out, columns, strict=True)
        )
        return itertools.chain(itertools.chain.from_iterable(held_out), *map(all_texts, against))

    def _drop_near_duplicates(self, path: Path, similarity: float) -> None:
        """Rewrite a table without near-duplicates."""
        table, kept = Table(path), path.with_suffix(".kept")
        drops = dict(mark_near_duplicates(table, self.fields, similarity))
        with TableWriter(kept) as writer:
            for position, row in enumerate(table):
                if position not in drops:
                    writer.write(row)
                else:
                    self._drop(row.pop("id"), drops[position], row)
        kept.replace(path)

    def _drop(self, id: str, drop: Drop, row: object) -> None:
        self.dropped[drop.reason] += 1
        line = {"id": id, "reason": drop.reason, "detail": drop.detail, "row": row}
        self._list.write(json.dumps(line, ensure_ascii=False) + "\n")


def all_texts(file: str) -> Iterator[tuple[str, Texts]]:
    """Yield every text of a file, from all columns and all levels of nesting, each as a row of its own.

    Args:
        file: Path of the file.

    Yields:
        Id of the text's row, and a tuple of the text.

    Raises:
        ValueError: If a row cannot be read, so that leaks of it could not be found.
    """
    for source_file in find_source_files(file, "test"):
        for number, record in source_file.read(set()):
            if isinstance(record, BadRow):
                raise ValueError(f"data.init_args.prepare.against: {record.message}")
            yield from ((f"{source_file.name}:{number}", (text,)) for text in texts_in(record))
