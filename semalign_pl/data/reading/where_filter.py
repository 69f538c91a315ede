"""Filter on rows by the values of columns: the setting ``where`` of a corpus."""

from __future__ import annotations

import json
from collections.abc import Mapping

from semalign_pl.data.reading.fields import Fault, Missing, value_of
from semalign_pl.data.reading.formats import escape, top_column
from semalign_pl.data.reading.formats.spreadsheet import MergedCell


class WhereFilter:
    """Filter on the values of columns. Values are compared as JSON text, so 7 also matches "7", and false "false".

    Args:
        where: Wanted value, or wanted values, of each column.

    Attributes:
        values: Wanted values of each column, as JSON text.
        missing: Columns that no row had so far.
        columns: Columns of the last row that was searched for them.
    """

    def __init__(self, where: Mapping[str, object]) -> None:
        self.values = {
            column: {_to_text(value) for value in (value if isinstance(value, list | tuple) else [value])}
            for column, value in where.items()
        }
        self.missing = dict.fromkeys(where)
        self.columns: list[str] = []

    def __call__(self, record: Mapping[str, object]) -> bool:
        """Return true if the record has the wanted values.

        Raises:
            Fault: If a column is part of a merged cell, whose value only its first row has.
        """
        if self.missing:
            self.columns = list(record)
            self.missing = {column: None for column in self.missing if top_column(record, column) is None}
        return all(self._value(record, column) in values for column, values in self.values.items())

    @staticmethod
    def _value(record: Mapping[str, object], column: str) -> str | None:
        if top_column(record, column) is None:
            return None
        try:
            value = value_of(record, column)
        except Missing:  # a row without this path does not have the value
            return None
        if isinstance(value, MergedCell):
            raise Fault(f"{column!r} of where is part of a merged cell; unmerge the cells and fill them in")
        return _to_text(value)

    def __str__(self) -> str:
        return escape(
            ", ".join(f"{column} {' or '.join(sorted(values))}" for column, values in self.values.items()), 200
        )

    def check(self, source: str) -> None:
        """Refuse a column that no row had.

        Args:
            source: Corpus, for the message.

        Raises:
            ValueError: If no row had one of the columns.
        """
        for column in self.missing:
            names = escape(", ".join(self.columns), 300)
            reason = f"the columns are {names}" if self.columns else "it has no good row"
            raise ValueError(f"{escape(source)}: no column {column!r} for where; {reason}; name one of them")


def _to_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
