"""One measured point as its test wrote it: ``results.json``, and the statistics per item of ``items.jsonl``."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semalign_pl.files.documents import read_json
from semalign_pl.functional.significance import Array
from semalign_pl.messages.terminal import visible

REMEDY = "test it again with this version, which writes items.jsonl"


@dataclass(frozen=True)
class MeasuredMetric:
    """One metric of a measured point.

    Attributes:
        items: Name of the item set.
        ids: Ids of the items, in the order of ``statistics``.
        statistics: Sufficient statistics per item, ``(items, statistics)``.
        formula: Name of the formula that gives the metric from the sum of the statistics.
        signature: Every option that changes the value.
        texts: Answer or prediction per item; ``None`` where there is none.
    """

    items: str
    ids: tuple[str, ...]
    statistics: Array
    formula: str
    signature: str
    texts: tuple[str | None, ...] = ()


@dataclass(frozen=True)
class MeasuredPoint:
    """Metrics of one measured point.

    Attributes:
        folder: Folder of its results, for messages.
        metrics: Metrics that have items, by name.
    """

    folder: str
    metrics: Mapping[str, MeasuredMetric]


def read_point(folder: Path, names: Collection[str] | None = None) -> MeasuredPoint:
    """Read a measured point.

    Args:
        folder: Folder with ``results.json`` and ``items.jsonl``.
        names: Metrics to read; ``None`` for all that have items and a value.

    Raises:
        ValueError: If a file is missing or malformed; names file, line and remedy.
    """
    results = read_json(folder / "results.json", REMEDY)
    metrics = results.get("metrics") if isinstance(results, dict) else None
    if not isinstance(metrics, dict):
        raise ValueError(f'{visible(folder)}/results.json: has no object "metrics"; {REMEDY}')
    wanted: dict[str, tuple[str, str, str]] = {}
    for name, entry in metrics.items():
        if isinstance(entry, dict) and (entry.get("value") is not None if names is None else name in names):
            items, formula, signature = (entry.get(key) for key in ("items", "formula", "signature"))
            if isinstance(items, str) and isinstance(formula, str) and isinstance(signature, str):
                wanted[name] = items, formula, signature
    rows = _read_items(folder / "items.jsonl", {items for items, _, _ in wanted.values()})
    measured = {name: _parse_metric(folder, name, *entry, rows.get(entry[0], {})) for name, entry in wanted.items()}
    return MeasuredPoint(visible(folder), measured)


def _read_items(path: Path, sets: Collection[str]) -> dict[str, dict[str, Mapping[str, object]]]:
    """Rows by item set and id."""
    rows: dict[str, dict[str, Mapping[str, object]]] = {}
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"{visible(path)}: cannot be read ({error.strerror}); {REMEDY}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{visible(path)}: byte {error.start} is not UTF-8; {REMEDY}") from error
    for number, line in enumerate(text.split("\n"), 1):
        if not line:
            continue
        try:
            row = json.loads(line)
            name, key = row["set"], row["id"]
            row["statistics"].items()
            if not isinstance(name, str) or not isinstance(key, str):
                raise TypeError("set and id are text")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            form = '{"set": …, "id": …, "statistics": {…}}'
            raise ValueError(f"{visible(path)}, line {number}: is no item of the form {form}; {REMEDY}") from error
        if name in sets:
            if key in rows.setdefault(name, {}):
                raise ValueError(
                    f"{visible(path)}, line {number}: item {visible(key)} of {visible(name)} is there twice; {REMEDY}"
                )
            rows[name][key] = row
    return rows


def _parse_metric(
    folder: Path, name: str, items: str, formula: str, signature: str, rows: Mapping[str, Mapping[str, object]]
) -> MeasuredMetric:
    statistics: dict[str, Sequence[float]] = {}
    texts: list[str | None] = []
    for key, row in rows.items():
        of_item = row["statistics"]
        if isinstance(of_item, Mapping) and name in of_item:  # a metric may leave out an item of its set
            statistics[key] = of_item[name]
            text = row.get("text")
            texts.append(text if isinstance(text, str) else None)
    try:
        array = np.array(list(statistics.values()), dtype=np.float64)
        valid = array.ndim == 2 and bool(np.isfinite(array).all())
    except (TypeError, ValueError, OverflowError):
        valid = False
        array = np.zeros((0, 0))
    if not valid:
        problem = "have no list of finite numbers, of one length," if statistics else "are missing"
        raise ValueError(
            f"{visible(folder)}/items.jsonl: items {visible(items)} {problem} for {visible(name)}; {REMEDY}"
        )
    return MeasuredMetric(items, tuple(statistics), array, formula, signature, tuple(texts))
