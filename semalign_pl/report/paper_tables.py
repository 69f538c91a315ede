"""A paper's tables beside a study's: row by row, with the order of the rows compared."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from semalign_pl.files.documents import read_yaml

from .results import Metric, Results

FORM = "`tables: {main: {title: Translation, metrics: [bleu4], rows: {strong_sft: [60.06]}}}`"


class PublishedTable(TypedDict):
    """One table of a paper."""

    title: str
    metrics: list[str]
    rows: dict[str, list[float | None]]


class Published(TypedDict):
    """Tables of a paper."""

    source: str
    tables: dict[str, PublishedTable]


class ComparedCell(TypedDict):
    """One number of a paper beside the study's; ``None`` where there is none."""

    paper: float | None
    ours: float | None
    ci: list[float] | None
    seeds: list[float]


class PairOrder(TypedDict):
    """Order of two rows in one metric.

    Attributes:
        higher: System whose number is higher in the paper.
        lower: The other system.
        same: True if the study has the same order.
        seeds: Number of seeds with the paper's order, and number of seeds; zeros if the rows have different seeds.
        apart: True if the study's two intervals over test rows do not overlap.
    """

    higher: str
    lower: str
    same: bool
    seeds: list[int]
    apart: bool


class ComparedTable(TypedDict):
    """One table of a paper beside the study's: cells by row and metric, and the order of rows by metric."""

    title: str
    rows: dict[str, dict[str, ComparedCell]]
    order: dict[str, list[PairOrder]]


def read_published(file: Path) -> Published:
    """Read a file with a paper's tables.

    Args:
        file: YAML file with ``source`` and ``tables``. A table has a ``title``, ``metrics`` and ``rows``: per system
            one number per metric, in the units of this package, or ``null``.

    Raises:
        ValueError: If the file is not of this form; names the key and the remedy.
    """
    return check_published(read_yaml(file), str(file))


def check_published(content: object, where: str) -> Published:
    """Check a paper's tables; see `read_published`.

    Args:
        content: Content of the file.
        where: Name of the file, for messages.

    Raises:
        ValueError: If the content is not of this form; names the key and the remedy.
    """
    tables = content.get("tables") if isinstance(content, Mapping) else None
    source = content.get("source") if isinstance(content, Mapping) else None
    if not isinstance(source, str) or not isinstance(tables, Mapping):
        raise ValueError(f"{where}: has no source and tables; write `source: arXiv 2605.14366` and {FORM}")
    return {"source": source, "tables": {str(k): _table(table, f"{where}: tables.{k}") for k, table in tables.items()}}


def _table(table: object, where: str) -> PublishedTable:
    keys = ("title", "metrics", "rows")
    if not isinstance(table, Mapping) or set(table) != set(keys):
        raise ValueError(f"{where}: {table!r} has not the keys {', '.join(keys)}; write {FORM}")
    title, metrics, rows = (table[key] for key in keys)
    if not isinstance(metrics, list) or not isinstance(rows, Mapping) or not metrics or not rows:
        raise ValueError(f"{where}: has no list of metrics or no rows; write {FORM}")
    for system, values in rows.items():
        if not isinstance(values, list) or len(values) != len(metrics):
            raise ValueError(f"{where}.rows.{system}: {values!r} is no list of {len(metrics)}, one number per metric")
        for value in values:
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise ValueError(f"{where}.rows.{system}: {value!r} is no number; write null where the paper has none")
    return {"title": str(title), "metrics": list(map(str, metrics)), "rows": {str(k): v for k, v in rows.items()}}


def compare_published(published: Published, results: Results) -> dict[str, ComparedTable]:
    """Compare a paper's tables with a study's results.

    Args:
        published: Tables of the paper.
        results: Results of the study.

    Returns:
        Compared tables by name. ``order`` has all pairs of rows whose numbers differ in the paper and which the study
        measured, in the paper's order.
    """
    compared: dict[str, ComparedTable] = {}
    for name, table in published["tables"].items():
        ours = {system: results.systems.get(system, {}) for system in table["rows"]}
        rows: dict[str, dict[str, ComparedCell]] = {
            system: {m: _cell(v, ours[system].get(m)) for m, v in zip(table["metrics"], values, strict=True)}
            for system, values in table["rows"].items()
        }
        order = {metric: _order({system: row[metric] for system, row in rows.items()}) for metric in table["metrics"]}
        compared[name] = {
            "title": table["title"],
            "rows": rows,
            "order": {metric: pairs for metric, pairs in order.items() if pairs},
        }
    return compared


def _cell(paper: float | None, metric: Metric | None) -> ComparedCell:
    if metric is None:
        return {"paper": paper, "ours": None, "ci": None, "seeds": []}
    ci = None if metric.ci is None else list(metric.ci)
    return {"paper": paper, "ours": metric.value, "ci": ci, "seeds": list(metric.seeds) or [metric.value]}


def _order(column: Mapping[str, ComparedCell]) -> list[PairOrder]:
    """All pairs of rows that the paper orders, the highest first."""
    ranked = sorted(
        ((one["paper"], one["ours"], system) for system, one in column.items()),
        key=lambda row: -(row[0] or 0.0),
    )
    pairs: list[PairOrder] = []
    for (high, ours, a), (low, others, b) in itertools.combinations(ranked, 2):
        if high is not None and low is not None and ours is not None and others is not None and high > low:
            one, other = column[a], column[b]
            alike = len(one["seeds"]) == len(other["seeds"])
            ahead = [x > y for x, y in zip(one["seeds"], other["seeds"], strict=True)] if alike else []
            pairs.append(
                {
                    "higher": a,
                    "lower": b,
                    "same": ours > others,
                    "seeds": [sum(ahead), len(ahead)],
                    "apart": _apart(one["ci"], other["ci"]),
                }
            )
    return pairs


def _apart(one: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    return one is not None and other is not None and (one[0] > other[1] or other[0] > one[1])
