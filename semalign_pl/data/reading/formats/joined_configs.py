"""Configurations of one hub dataset joined by id: a language each, as in SIB-200 and FLORES+."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from semalign_pl.data.reading.formats.account import LineCounter
from semalign_pl.data.reading.formats.record import BadRow, Item, bad_row, escape, quote

KEYS = ("id", "index_id")
"""Names of the column by which rows are joined; the first that every configuration has is used."""
_SOURCE = re.compile(r"(?P<name>[^{}]+):\{(?P<configs>[\w.-]+(,[\w.-]+)+)\}(@(?P<split>[^@{}]+))?")

Reader = Callable[[str, LineCounter], Iterator[Item]]
"""Function that yields the rows of one configuration."""


class JoinedName(NamedTuple):
    """Name of a source that joins configurations: ``name:{config,config}@split``.

    Attributes:
        name: Hub dataset or folder.
        configs: Names of the configurations.
        split: Name of the split; ``None`` if it is not named.
    """

    name: str
    configs: Sequence[str]
    split: str | None


def parse_joined(source: str) -> JoinedName | None:
    """Parse the name of a source that joins configurations; ``None`` for any other name.

    Args:
        source: Name of the source, as the user wrote it.
    """
    match = _SOURCE.fullmatch(source)
    return JoinedName(match["name"], match["configs"].split(","), match["split"]) if match else None


def joined_rows(source: str, configs: Sequence[str], read: Reader, counter: LineCounter) -> Iterator[Item]:
    """Yield one row per id, in order of first occurrence, with the row of each configuration as a nested column.

    A row whose id any other configuration lacks is a bad row.

    Args:
        source: Name of the source, for messages.
        configs: Names of the configurations, which become the names of the columns.
        read: Reader of one configuration.
        counter: Number of ids read, updated while reading.

    Raises:
        ValueError: If the configurations have no id in common, or an id occurs twice.
    """
    rows = {config: _by_id(source, config, read) for config in configs}
    ids = dict.fromkeys(id for of_one in rows.values() for id in of_one)
    for number, id in enumerate(ids, 1):
        counter.lines = number
        row = {config: of_one[id] for config, of_one in rows.items() if id in of_one}
        lacking = [config for config in configs if config not in row]
        if lacking:
            fault = f"the row of {next(iter(row))} with the id {quote(id)} has none in {lacking[0]}; drop it"
            yield Item(number, bad_row(source, number, fault, repr(row)))
        else:
            yield Item(number, {"id": id, **row})


def _by_id(source: str, config: str, read: Reader) -> dict[object, Mapping[str, object]]:
    rows: dict[object, Mapping[str, object]] = {}
    for _, row, _ in read(config, LineCounter()):
        assert isinstance(row, Mapping) and not isinstance(row, BadRow), "`datasets` yields whole rows"
        key = next((name for name in KEYS if name in row), None)
        if key is None:
            names = escape(", ".join(row), 200)
            raise ValueError(
                f"{escape(source)}: {config} has no column {' or '.join(KEYS)} to join by (it has {names}); give one "
                "file with both languages"
            )
        if row[key] in rows:
            raise ValueError(f"{escape(source)}: {config} has the {key} {quote(row[key])} twice; give each row its own")
        rows[row[key]] = row
    return rows
