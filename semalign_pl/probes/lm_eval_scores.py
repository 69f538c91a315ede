"""Scores and items from the results of lm-evaluation-harness."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from semalign_pl.functional.cost import less_is_better
from semalign_pl.functional.formulas import score_items
from semalign_pl.types import Item, Measurement, MetricResult

if TYPE_CHECKING:
    from lm_eval.api.group import Group
    from lm_eval.api.task import Task

Sample = Mapping[str, Any]
"""Entry of the harness's ``samples``: a document, its requests and answers, and its value per metric."""
NUMBER = (bool, int, float, np.number, np.bool_)
_CLOSE = 1e-9
"""Largest relative difference of a score from its items and the harness's own number: the rounding of a sum."""


def measurement_of(
    results: Mapping[str, Any], tasks: Mapping[str, Task], groups: Mapping[str, Group], name: str, signature: str
) -> Measurement:
    """Scores of a task, of the group that aggregates its tasks, or else of each task.

    A score has items if it is a mean over the documents, or bits per byte. Any other is the harness's number alone.

    Args:
        results: Return value of the harness's ``evaluate``, with samples.
        tasks: Tasks by name.
        groups: Groups by name; the first one was asked for.
        name: Prefix of the scores' names.
        signature: Options that all scores depend on.

    Returns:
        Scores by name, and the items that they are computed from.
    """
    whole = next((group for group in groups.values() if group.has_aggregation), None)
    if whole is not None:
        return _unit(results, whole.name, whole.get_all_tasks(), name, signature)
    one = len(tasks) == 1
    units = [
        _unit(results, task_name, [task], name if one else f"{name}_{_word(task_name)}", signature)
        for task_name, task in tasks.items()
    ]
    scores = {key: score for unit in units for key, score in unit.scores.items()}
    return Measurement(scores, [item for unit in units for item in unit.items])


def _unit(results: Mapping[str, Any], unit: str, tasks: Sequence[Task], name: str, signature: str) -> Measurement:
    """Scores of one entry of the harness's results."""
    samples = {
        (task.task_name, sample["doc_id"], sample["filter"]): sample
        for task in tasks
        for sample in results["samples"][task.task_name]
    }
    documents = list(dict.fromkeys((task, id) for task, id, _ in samples))
    statistics: dict[tuple[str, int], dict[str, list[float]]] = {document: {} for document in documents}
    shots = "+".join(sorted({str(results["n-shot"][task.task_name]) for task in tasks}))
    versions = "+".join(sorted({str(results["versions"][task.task_name]) for task in tasks}))
    shared = (
        f"{signature}|unit:{unit}|version:{versions}|shots:{shots}|documents:{len(documents)}"
        f"|requests:{_digest([sample['arguments'] for sample in samples.values()])}"
    )
    values: dict[str, tuple[float, str | None, str]] = {}
    for key, number in results["results"][unit].items():
        metric, comma, filter_name = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(number, int | float):
            continue
        directions, aggregates = tasks[0].higher_is_better() or {}, tasks[0].aggregation() or {}
        score_name = _score_name(name, metric, filter_name, directions.get(metric, True))
        rows = [samples.get((*document, filter_name), {}).get(metric) for document in documents]
        formula, of_documents = _statistics(aggregates.get(metric), rows)
        if formula is not None:
            for document, row in zip(documents, of_documents, strict=True):
                statistics[document][score_name] = row
        values[score_name] = float(number), formula, f"metric:{metric}|filter:{filter_name}|{shared}"
    answers = {(task, id): _answer(sample) for (task, id, _), sample in samples.items()}
    items = [
        Item(name, str(id) if len(tasks) == 1 else f"{task}:{id}", statistics[task, id], answers[task, id])
        for task, id in documents
    ]
    return _with_items(name, items, values)


def _with_items(name: str, items: Sequence[Item], values: Mapping[str, tuple[float, str | None, str]]) -> Measurement:
    """Measurement whose scores have items only where these give the harness's own number."""
    scores: dict[str, MetricResult] = {}
    for score_name, (number, formula, signature) in values.items():
        scores[score_name] = MetricResult(number, None, signature)
        if formula is not None:
            of_items = score_items(items, score_name, formula, signature)
            if math.isclose(of_items.value, number, rel_tol=_CLOSE, abs_tol=_CLOSE):
                scores[score_name] = of_items
    kept = {score_name for score_name, score in scores.items() if score.items is not None}
    plain = [
        Item(item.set, item.id, {key: row for key, row in item.statistics.items() if key in kept}, item.text)
        for item in items
    ]
    return Measurement(scores, plain if kept else [])


def _statistics(aggregate: Callable[..., float] | None, rows: Sequence[object]) -> tuple[str | None, list[list[float]]]:
    """Formula and statistics of a metric's values per document; no formula if the score is no function of a sum."""
    from lm_eval.api.metrics import bits_per_byte, mean

    if aggregate in (None, mean) and all(isinstance(row, NUMBER) for row in rows):
        return "mean", [[float(row)] for row in rows if isinstance(row, NUMBER)]
    if aggregate is bits_per_byte:
        # The statistics of a document are its log-likelihood in nats and its length in bytes.
        pairs = [row for row in rows if isinstance(row, tuple)]
        return "ratio", [[-float(logprob) / math.log(2), float(size)] for logprob, size in pairs]
    return None, []


def _score_name(name: str, metric: str, filter_name: str, higher_is_better: bool) -> str:
    """Name of a score, which says its direction where the metric's own name does not."""
    full = f"{name}_{_word(metric)}" + ("" if filter_name == "none" else f"_{_word(filter_name)}")
    if less_is_better(full) == (not higher_is_better):
        return full
    # Words end at "_" only, so that a cost in the name of a task (ocr_errors) is none in that of its score.
    return full.replace("_", "-") if higher_is_better else f"{full}_error"


def _answer(sample: Sample) -> str | None:
    """Text that the policy generated for a document; ``None`` if it generated none."""
    first = sample["resps"][0][0] if sample["resps"] and sample["resps"][0] else None
    return first if isinstance(first, str) else None


def _word(text: str) -> str:
    return re.sub(r"\W+", "_", text).strip("_")


def _digest(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
