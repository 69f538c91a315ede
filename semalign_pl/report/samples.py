"""Every test row with the prediction of every system and point, as data for the page's sample browser."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypedDict

from .chart import colour_of
from .files import PredictionTable, evenly_spaced, find_point, read_predictions
from .measured_curves import END, points_of
from .recipes import EvaluatedTask
from .results import Results, column_of
from .text_language import guess_language

MAX_CHARACTERS = 6_000_000
"""Most characters of texts in one page, about 18 MB of Tibetan; a browser opens it in a few seconds."""


class PointSamples(TypedDict):
    """Predictions of one point: number of the text per row (-1 without one), and scores per row by metric."""

    texts: list[int]
    scores: dict[str, list[float | None]]


class SystemSamples(TypedDict):
    """Predictions of one system by point."""

    name: str
    title: str
    colour: str
    points: dict[str, PointSamples]


class Group(TypedDict):
    """Rows of one test set, as columns; texts are numbers of the page's texts."""

    title: str
    test: str
    lang: str
    metrics: list[str]
    ids: list[str]
    prompts: list[int]
    promptLangs: list[str]
    references: list[int]
    systems: list[SystemSamples]


@dataclass(frozen=True)
class Samples:
    """Content of the sample browser.

    Attributes:
        data: JSON value that the page's script reads.
        rows: Number of test rows in the page.
        rows_tested: Number of test rows in the files.
    """

    data: dict[str, object]
    rows: int
    rows_tested: int


def prediction_files(
    folder: Path, system: str, points: Iterable[str], seeds: Collection[int] | None = None
) -> dict[str, Path]:
    """Predictions file of each point of a system, of the first seed that has the point; the end point comes first.

    Args:
        folder: Folder of the study.
        system: Name of the system.
        points: Names of the points, as the folder may have others of an earlier frontier.
        seeds: Seeds of the study; ``None`` for all in the folder.
    """
    found = {
        point: find_point(folder, system, point, "predictions.jsonl", seeds) for point in dict.fromkeys((END, *points))
    }
    return {point: next(iter(paths.values())) for point, paths in found.items() if paths}


def read_samples(
    folder: Path, results: Mapping[str, object], parsed: Results, tasks: Mapping[str, EvaluatedTask]
) -> Samples:
    """Read the predictions of a study.

    Args:
        folder: Folder of the study.
        results: Dictionary of ``results.json``.
        parsed: The same, parsed.
        tasks: Task of each system. Systems of one task and test set share their rows.

    Raises:
        ValueError: If a predictions file is malformed; the message names file and line.
    """
    tables: dict[str, dict[str, PredictionTable]] = {}
    for system in parsed.systems:
        paths = prediction_files(folder, parsed.folder_of(system), points_of(results, system), parsed.seeds)
        read = {point: read_predictions(path) for point, path in paths.items()}
        if read:
            tables[system] = read
    groups: dict[EvaluatedTask, list[str]] = {}
    for system in tables:
        groups.setdefault(tasks.get(system, EvaluatedTask()), []).append(system)
    texts = _Texts()
    made = [
        _group(task, {s: tables[s] for s in systems}, parsed, texts, MAX_CHARACTERS // len(groups))
        for task, systems in groups.items()
    ]
    names = dict.fromkeys(name for group, _ in made for name in group["metrics"])
    metrics = {name: [column_of(name).title, column_of(name).digits] for name in names}
    data = {"texts": list(texts.numbers), "metrics": metrics, "groups": [group for group, _ in made]}
    return Samples(data, sum(len(group["ids"]) for group, _ in made), sum(tested for _, tested in made))


def to_script_json(value: object) -> str:
    r"""JSON text that no HTML parser takes for markup: ``<``, ``>`` and ``&`` are escaped, as ``\u003c``.

    >>> to_script_json("</script>")
    '"\\u003c/script\\u003e"'
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate is no text


class _Texts:
    """Texts of the page, each once: points of one system often agree."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def add(self, text: str) -> int:
        """Number of a text."""
        return self.numbers.setdefault(text, len(self.numbers))


def _group(
    task: EvaluatedTask,
    tables: Mapping[str, Mapping[str, PredictionTable]],
    parsed: Results,
    texts: _Texts,
    budget: int,
) -> tuple[Group, int]:
    """Rows of one test set, as columns: ids, prompts, references, and per system and point predictions and scores."""
    every = [table for points in tables.values() for table in points.values()]
    rows = {key: row for table in reversed(every) for key, row in table.items()}
    order = list(dict.fromkeys(key for table in every for key in table))
    size = sum(len(text) for text in {str(row.get("prediction", "")) for table in every for row in table.values()})
    size += sum(len(str(row.get(name, ""))) for row in rows.values() for name in ("prompt", "reference"))
    kept = order if size <= budget else evenly_spaced(order, max(1, len(order) * budget // size))
    names = dict.fromkeys(name for table in every for row in table.values() for name in _scores(row))
    language = cache(lambda text: guess_language(text, task.prompt_languages))
    prompts = [str(rows[key].get("prompt", "")) for key in kept]
    references = [str(rows[key].get("reference", "")) for key in kept]
    group: Group = {
        "title": task.title,
        "test": task.test,
        "lang": task.language or (language(references[0]) if references else ""),
        "metrics": [name for name in names if not name.endswith("_references")],
        "ids": [*kept],
        "prompts": [texts.add(text) for text in prompts],
        "promptLangs": [language(text) for text in prompts],
        "references": [texts.add(text) for text in references],
        "systems": [
            {
                "name": system,
                "title": parsed.title_of(system),
                "colour": colour_of(system, parsed),
                "points": {point: _point(table, kept, names, texts) for point, table in points.items()},
            }
            for system, points in tables.items()
        ],
    }
    return group, len(order)


def _point(table: PredictionTable, kept: Iterable[str], names: Iterable[str], texts: _Texts) -> PointSamples:
    """Predictions and scores of one point: the number of each row's text (-1 if it lacks the row), scores by metric."""
    rows = [table.get(key) for key in kept]
    scores: dict[str, list[float | None]] = {}
    for name in names:
        values = [None if row is None else _scores(row).get(name) for row in rows]
        if any(value is not None for value in values):
            scores[name] = [None if value is None else float(f"{value:.5g}") for value in values]
    return {
        "texts": [-1 if row is None else texts.add(str(row.get("prediction", ""))) for row in rows],
        "scores": scores,
    }


def _scores(row: Mapping[str, object]) -> dict[str, float]:
    scores = row.get("scores")
    numbers = scores.items() if isinstance(scores, Mapping) else ()
    return {str(k): float(v) for k, v in numbers if isinstance(v, int | float) and math.isfinite(v)}
