"""Preparation of a corpus: from files to a table of prepared rows on disk, once for the same content and settings."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from semalign_pl import languages
from semalign_pl.data.cleaning.hashes import HashSet
from semalign_pl.data.cleaning.leakage import Texts
from semalign_pl.data.cleaning.near_duplicates import near_duplicates
from semalign_pl.data.cleaning.preparation import Cleaner, Preparation
from semalign_pl.data.cleaning.row_filter import HEAD, Judge, Judged, chunks, judged, shared_fields, take
from semalign_pl.data.conversation import TURNS, Chat
from semalign_pl.data.progress import counted
from semalign_pl.data.reading import sources
from semalign_pl.data.reading.fields import texts_in
from semalign_pl.data.reading.formats import BadRow, Counts, Quoting, find_source_files
from semalign_pl.data.storing.cache import CACHE, Prepared, cached, counts, opened
from semalign_pl.data.storing.table import Table, TableWriter

BadRows = Literal["error", "quarantine"]


@dataclass(frozen=True)
class Request:
    """Description of a corpus and of its preparation.

    Attributes:
        source: File or hub dataset.
        columns: Name of the corpus' column for each field.
        optional: Names of fields that may be empty or missing.
        split: Split of a hub dataset.
        where: Filter on rows: value, or values, that each of these columns must have.
        quoting: Quoting of .csv and .tsv files.
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
    where: Mapping[str, Any] | None = None
    quoting: Quoting | None = None
    fields: tuple[str, ...] = ()
    languages: Mapping[str, str] = dataclasses.field(default_factory=dict)
    pair: tuple[str, str] | None = None
    prepare: Preparation | None = None
    filters: bool = True
    bad_rows: BadRows = "error"
    chat: Chat | None = None


def prepare(request: Request, evaluation: Sequence[Prepared] = (), cache: Path = CACHE, workers: int = 0) -> Prepared:
    """Read and clean a corpus and write it to the cache, or take it from the cache.

    Args:
        request: Description of the corpus and of its preparation.
        evaluation: Prepared corpora whose rows the corpus must not repeat.
        cache: Folder of all prepared corpora.
        workers: Number of worker processes that clean and compare; 0 for this process alone. The result does not depend
            on it.

    Raises:
        ValueError: If the corpus cannot be read, a row is bad and ``bad_rows`` is ``error``, or no row is left.
    """
    settings = request.prepare if request.filters else None
    against = settings.against if settings else []
    identity = [
        _code(),
        sources.content_key(request.source, request.split),
        repr(dataclasses.replace(request, optional=frozenset())),
        sorted(request.optional),
        repr(Cleaner.of(request.prepare, request.languages)) if request.prepare else "",
        [prepared.folder.name for prepared in evaluation] if settings and settings.decontaminate else [],
        [sources.content_key(file, "test") for file in against],
    ]
    key = hashlib.sha256(json.dumps(identity, default=str).encode()).hexdigest()[:24]

    def make(folder: Path) -> dict[str, Any]:
        held_out = evaluation if settings and settings.decontaminate else ()
        return _Run(request, settings, held_out, against, workers).into(folder)

    folder = cached(cache / key, make)
    return opened(folder)


@functools.cache
def _code() -> str:
    """Hash of this package's code and data that a prepared row depends on, so that another version prepares anew."""
    digest = hashlib.sha256()
    for folder in (Path(__file__).parents[1], Path(languages.__file__).parent):
        for path in sorted(p for p in folder.rglob("*") if p.suffix in (".py", ".yaml")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


class _Run:
    """Preparation of one corpus in one pass."""

    def __init__(
        self,
        request: Request,
        settings: Preparation | None,
        evaluation: Sequence[Prepared],
        against: Sequence[str],
        workers: int,
    ) -> None:
        self.request, self.settings, self.evaluation, self.against = request, settings, evaluation, against
        self.workers = workers
        self.columns = [*(request.chat.columns if request.chat else ()), *request.columns]
        self.fields = [name for name in request.fields if name in self.columns]
        self.counts, self.dropped = Counts(), Counter[str]()

    def into(self, folder: Path) -> dict[str, Any]:
        """Write the table of rows and the list of dropped rows to a folder, and return the report."""
        with (folder / "dropped.jsonl").open("w", encoding="utf-8") as self._list:
            with TableWriter(folder / "rows.arrow", columns=self.columns) as writer:
                for row in counted(self._kept(), f"preparing {self.request.source}"):
                    writer.write(row)
            if self.settings and self.settings.near_duplicates is not None:
                self._drop_near(folder / "rows.arrow", self.settings.near_duplicates)
        read = self.counts.good + self.counts.bad
        kept = read - self.dropped.total()
        if not read:
            raise ValueError(
                f"{self.request.source}: no rows in it; check that it was written to the end, or give another file"
            )
        if not kept:
            first = (folder / "dropped.jsonl").read_text(encoding="utf-8").split("\n")[0]
            raise ValueError(
                f"{self.request.source}: none of its {read} rows is left: {counts(self.dropped)}; change "
                f"data.init_args.prepare or the file. The first: {first[:300]}"
            )
        return {
            "source": self.request.source,
            "lines": self.counts.lines,
            **{name: getattr(self.counts, name) for name in ("blank", "header", "continued", "skipped")},
            "read": read,
            "kept": kept,
            "dropped": dict(self.dropped.most_common()),
            "prepare": dataclasses.asdict(self.request.prepare) if self.request.prepare else None,
            "bad_rows": self.request.bad_rows,
        }

    def _kept(self) -> Iterator[dict[str, str]]:
        rows = self._readable()
        head = take(rows, HEAD)
        preparation = self.request.prepare
        if preparation is None:
            yield from ({"id": id, **row} for id, row in itertools.chain(head, rows))
            return
        cleaner = Cleaner.of(preparation, self.request.languages, self.request.pair)
        cleaner.check_encoding([row for _, row in head], self.request.source)
        if self.settings is None:
            yield from ({"id": id, **cleaner.normal(row)} for id, row in itertools.chain(head, rows))
            return
        judge = Judge.of(cleaner, self.fields, head, self._evaluated())
        seen = HashSet()
        for chunk in judged(judge, chunks(itertools.chain(head, rows)), self.workers):
            yield from self._chunk(chunk, seen)

    def _readable(self) -> Iterator[tuple[str, dict[str, str]]]:
        request = self.request
        named = (request.source, request.columns, request.split, request.where, request.optional, request.quoting)
        for id, row in sources.stream(*named, counts=self.counts, chat=request.chat):
            if not isinstance(row, BadRow):
                yield id, row
            elif request.bad_rows == "error":
                raise ValueError(row.message)
            else:
                self._drop(id, "bad_row", row.message, row.raw)

    def _chunk(self, chunk: list[Judged], seen: HashSet) -> Iterator[dict[str, str]]:
        """Yield the kept rows of a chunk; ``seen`` has the keys of all rows before it."""
        assert self.settings is not None
        alike = seen.add(row.key for row in chunk if row.key is not None) if self.settings.duplicates else []
        repeated = iter(alike)
        for row in chunk:
            verdict = row.verdict
            if row.key is not None and next(repeated, False) and verdict is None:
                verdict = ("duplicate", "says the same as an earlier row")
            if verdict is None:
                yield {"id": row.id, **row.row}
            else:
                self._drop(row.id, *verdict, row.row)

    def _evaluated(self) -> Iterator[tuple[str, Texts]] | None:
        """Id and texts of the rows that this corpus must not repeat; ``None`` if there are none."""
        if not (self.evaluation or self.against):
            return None
        rows = (
            (row["id"], tuple(row[name] or "" for name in names))
            for prepared in self.evaluation
            for names in [shared_fields(self.fields, [c for c in prepared.table.columns if c not in ("id", TURNS)])]
            for row in prepared.table
        )
        return itertools.chain(rows, (text for file in self.against for text in all_texts(file)))

    def _drop_near(self, path: Path, similarity: float) -> None:
        """Rewrite a table without near-duplicates."""
        table, kept = Table(path), path.with_suffix(".kept")
        near = {late: (early, alike) for late, early, alike in near_duplicates(table, self.fields, similarity)}
        with TableWriter(kept) as writer:
            for position, row in enumerate(table):
                if position not in near:
                    writer.write(row)
                    continue
                early, alike = near[position]
                self._drop(row.pop("id"), "near_duplicate", f"{alike:.2f} of {table[early]['id']}", row)
        kept.replace(path)

    def _drop(self, id: str, reason: str, detail: str, row: Any) -> None:
        self.dropped[reason] += 1
        line = {"id": id, "reason": reason, "detail": detail, "row": row}
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
