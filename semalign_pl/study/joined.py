"""Join the results of all tests of a study."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TypedDict

from semalign_pl.study.systems import BASE, System, group
from semalign_pl.types import Json


class RunMetric(TypedDict):
    """One metric in the ``results.json`` of a test; see `MetricResult`."""

    value: float
    ci: list[float] | None
    signature: str


class RunResults(TypedDict):
    """``results.json`` of a test."""

    metrics: dict[str, RunMetric]
    run: dict[str, Json]


class StudyMetric(RunMetric):
    """One metric in the ``results.json`` of a study: means over seeds, and the value per seed."""

    seeds: list[float]


class PointEntry(TypedDict):
    """One point of a system's curve."""

    name: str
    metrics: dict[str, StudyMetric]


SystemEntry = TypedDict(
    "SystemEntry",
    {
        "from": str | None,
        "label": str,
        "metrics": dict[str, StudyMetric],
        "points": list[PointEntry],
        "chosen": str,
        "variants": "dict[str, SystemEntry]",
    },
    total=False,
)
"""One system in the ``results.json`` of a study."""

Points = Mapping[str, RunResults]
"""Results of the points of one run by name, in the order of the curve."""
END = "end"
"""Name of the point of the finished adapter."""


def join(
    systems: Sequence[System], results: Mapping[tuple[int, str], Points], chosen: Mapping[str, str]
) -> dict[str, SystemEntry]:
    """Join the results of all tests to the ``systems`` entry of a study's ``results.json``.

    Args:
        systems: Systems of the study.
        results: Results of each run, by seed and system; a run that tested one adapter has only the point ``end``.
        chosen: Name of the best variant by swept system.

    Returns:
        Dictionary per system, base first: ``label`` if it has one, ``from`` (``None`` for base), ``metrics`` of the
        finished adapter and, if there are several, all ``points`` in the order of the curve. Each metric that has a
        value in all seeds is a dictionary of ``value`` (mean over seeds), ``ci`` (95 % interval over test rows: the
        mean of the seeds' bounds), ``signature`` and ``seeds`` (value per seed). A swept system has the entries of all
        its ``variants`` and the name of the ``chosen`` one, whose results are also its own.
    """
    keys = {system.name: system.key for system in systems}
    joined: dict[str, SystemEntry] = {BASE: {"from": None, **_join_seeds(BASE, results)}}
    for key, variants in group(systems).items():
        start, label = keys.get(variants[0].start, BASE), variants[0].label
        titled: SystemEntry = {"from": start, "label": label} if label else {"from": start}
        entries = {one.name: _join_seeds(one.name, results) for one in variants}
        if variants[0].sweep is None:
            joined[key] = {**titled, **entries[key]}
        else:
            joined[key] = {**titled, **entries[chosen[key]], "chosen": chosen[key], "variants": entries}
    return joined


def _join_seeds(system: str, results: Mapping[tuple[int, str], Points]) -> SystemEntry:
    """Metrics and points of one system or variant over its seeds."""
    runs = [points for (_, name), points in sorted(results.items()) if name == system]
    names = [name for name in runs[0] if all(name in run for run in runs)]
    points: list[PointEntry] = [{"name": name, "metrics": _mean([run[name] for run in runs])} for name in names]
    entry: SystemEntry = {"metrics": next(point["metrics"] for point in points if point["name"] == END)}
    return {**entry, "points": points} if len(points) > 1 else entry


def _mean(runs: Sequence[RunResults]) -> dict[str, StudyMetric]:
    """Each metric that has a value in all seeds, averaged; one that is not finite is null in the file of its test."""
    metrics = [{name: one for name, one in run["metrics"].items() if one["value"] is not None} for run in runs]
    return {
        name: mean_metric([run[name] for run in metrics]) for name in metrics[0] if all(name in run for run in metrics)
    }


def mean_metric(metrics: Sequence[RunMetric]) -> StudyMetric:
    """One metric, averaged over seeds.

    Args:
        metrics: The metric per seed.
    """
    bounds = [ci for metric in metrics if (ci := metric["ci"]) is not None]
    return {
        "value": statistics.fmean(metric["value"] for metric in metrics),
        "ci": [statistics.fmean(bound[side] for bound in bounds) for side in (0, 1)] if bounds else None,
        "signature": metrics[0]["signature"],
        "seeds": [metric["value"] for metric in metrics],
    }
