"""Rows that preparation drops from a file, by reason, with an example of each: counts of the marks of ``mark_rows``."""

from __future__ import annotations

import heapq
import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from semalign_pl.data.cleaning.field_languages import check_field_languages
from semalign_pl.data.cleaning.near_duplicates import mark_near_duplicates
from semalign_pl.data.cleaning.preparation import Drop
from semalign_pl.data.cleaning.row_filter import MarkedRow, RowFilter, Rows
from semalign_pl.data.storing.table import Table, TableWriter
from semalign_pl.inspection.lengths import Statistics
from semalign_pl.inspection.rows import Account, Corpus

EXTREMES = 5
"""Number of pairs to keep whose lengths differ most from the median ratio."""


@dataclass(frozen=True)
class _Pair:
    id: str
    times: float
    row: dict[str, str]


class DropCounts:
    """Rows that preparation drops from a file if it is trained on.

    If near-duplicates are dropped, the rows that are kept until then are in a temporary file.

    Args:
        corpus: File that is read.
        row_filter: Row filter of the file.
        head: First rows of the file, in which preparation looks for a legacy encoding.
    """

    def __init__(self, corpus: Corpus, row_filter: RowFilter, head: Rows) -> None:
        self._settings, self._cleaner = corpus.settings, row_filter.cleaner
        self._fields = row_filter.fields
        self._stops = None
        try:
            self._cleaner.check_encoding([row for _, row in head], corpus.request.source)
            check_field_languages(replace(corpus.request, prepare=corpus.settings), [row for _, row in head])
        except ValueError as error:
            self._stops = str(error)
        self.dropped: Counter[str] = Counter()
        self._examples: dict[str, Statistics] = {}
        self._off_ratio: list[tuple[float, int, _Pair]] = []
        self._folder, self._kept = None, None
        if self._settings.near_duplicates is not None:
            self._folder = tempfile.TemporaryDirectory(prefix="semalign_")
            self._kept = TableWriter(Path(self._folder.name) / "kept.arrow", columns=self._fields)

    def add(self, rows: Rows, marked: Sequence[MarkedRow]) -> None:
        """Count more rows.

        Args:
            rows: Id and texts of each row, as in the file.
            marked: The same rows in normal form, with the reasons for dropping them.
        """
        for (id, row), one in zip(rows, marked, strict=True):
            drop = one.drop
            if drop is not None and drop.reason == "duplicate" and not self._settings.duplicates:
                drop = None  # duplicates are always counted, but the recipe keeps them
            if drop is not None:
                self._drop(id, drop, row)
            elif self._kept is not None:
                self._kept.write({"id": id, **{name: one.row.get(name) for name in self._fields}})
            if drop is not None and drop.reason == "length_ratio":
                self._keep_extreme(_Pair(id, self._cleaner.times_median(one.row) or 0.0, row))

    def _keep_extreme(self, pair: _Pair) -> None:
        distance = abs(math.log(pair.times)) if pair.times else math.inf
        heapq.heappush(self._off_ratio, (distance, -self.dropped["length_ratio"], pair))
        if len(self._off_ratio) > EXTREMES:
            heapq.heappop(self._off_ratio)

    def _drop(self, id: str, drop: Drop, row: dict[str, str]) -> None:
        self.dropped[drop.reason] += 1
        self._examples.setdefault(drop.reason, {"id": id, "detail": drop.detail, "row": row})

    def _drop_near_duplicates(self) -> None:
        if self._kept is None or self._folder is None or self._settings.near_duplicates is None:
            return
        self._kept.close()
        table = Table(self._kept.path)
        for place, drop in mark_near_duplicates(table, self._fields, self._settings.near_duplicates):
            row = table[place]
            self._drop(row.pop("id"), drop, row)
        self._folder.cleanup()

    def result(self, account: Account) -> Statistics:
        """Number of rows read, kept and dropped per reason, and examples; or the error that stops preparation.

        Args:
            account: Account of the file's lines, after all rows have been added.
        """
        self._drop_near_duplicates()
        if account.unusable:
            assert account.example is not None, "an unusable row was counted, so the first one is kept"
            id, fault, raw = account.example
            self.dropped["bad_row"] = account.unusable
            self._examples["bad_row"] = {"id": id, "detail": fault, "row": {"": raw} if raw else {}}
        pairs = [pair for *_, pair in sorted(self._off_ratio, key=lambda item: item[:2], reverse=True)]
        return {
            "read": account.read,
            "kept": account.read - self.dropped.total(),
            "dropped": dict(self.dropped.most_common()),
            "stops": self._stops,
            "examples": {reason: self._examples[reason] for reason, _ in self.dropped.most_common()},
            "length_ratio": self._cleaner.ratio
            and {
                "fields": list(self._cleaner.pair or ()),
                "median": self._cleaner.ratio,
                "rows": self.dropped["length_ratio"],
                "examples": [{"id": pair.id, "times": pair.times, "row": pair.row} for pair in pairs],
            },
        }
