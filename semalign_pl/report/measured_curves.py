"""Curves of quality against cost from ``results.json``: those of its ``frontier`` entry, else the systems' points."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .json_values import as_list, as_number, as_object, get_object
from .results import BASE, REMEDY, Column, Metric, Results, column_of, parse_metrics

END = "end"
QUALITIES = ("chrf", "rouge_l", "bleu4", "semantic_similarity", "language_consistency")
COSTS = ("cmrc_f1", "nll_change_mean", "kl_mean")


@dataclass(frozen=True)
class CurvePoint:
    """One measured point of a system.

    Attributes:
        name: Name, such as ``end``, ``step-50`` or ``scale-0.5``.
        quality: Quality of each seed.
        costs: Cost of each seed, by metric; of a cost, less is better.
    """

    name: str
    quality: list[float]
    costs: dict[str, list[float]]


@dataclass(frozen=True)
class MeasuredCurve:
    """Points of one system in the order of its path.

    Attributes:
        points: Points; neighbours in the list are neighbours on the path.
        bands: Qualities by metric, with the cost there and its 95 % interval (low, high); empty if not computed.
    """

    points: list[CurvePoint]
    bands: dict[str, list[tuple[float, float, tuple[float, float]]]] = field(default_factory=dict)


@dataclass(frozen=True)
class MeasuredCurves:
    """All curves of a study.

    Attributes:
        quality: Metric of quality.
        costs: Metrics of general ability, in the order of the study.
        curves: Curve by system.
        has_frontier: True if the study compared its systems at equal quality.
    """

    quality: str
    costs: list[str]
    curves: dict[str, MeasuredCurve]
    has_frontier: bool


def cost_title(column: Column) -> str:
    """Title of a cost: of a metric of which more is better, the loss."""
    lost = f"{column.title} lost" if column.higher_is_better else column.title
    return f"{lost} ({column.unit})" if column.unit else lost


def mean(values: Sequence[float]) -> float:
    """Mean of the finite values; NaN without any."""
    finite = [value for value in values if math.isfinite(value)]
    return statistics.fmean(finite) if finite else math.nan


def read_curves(results: Mapping[str, object], parsed: Results) -> MeasuredCurves:
    """Curves of a study: quality against each cost, per system.

    Without a ``frontier`` entry, as in results of older studies, quality is chrF or the first quality measured, and the
    curves are the systems' points, or their end points alone.

    Args:
        results: Dictionary of ``results.json``.
        parsed: The same, parsed.

    Raises:
        ValueError: If the entry is malformed.
    """
    entry = get_object(results, "frontier")
    if not entry.get("curves"):
        return _without_frontier(results, parsed)
    try:
        curves = {name: _curve(as_object(raw)) for name, raw in as_object(entry["curves"]).items()}
        return MeasuredCurves(str(entry["quality"]), [str(cost) for cost in as_list(entry["costs"])], curves, True)
    except (AttributeError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ValueError(f"results: frontier.curves is malformed ({error!r}). {REMEDY}.") from error


def points_of(results: Mapping[str, object], system: str) -> dict[str, dict[str, Metric]]:
    """Metrics of a system's points by their names; of its end point alone if the study measured no others.

    Args:
        results: Dictionary of ``results.json``.
        system: Name of the system.
    """
    body = get_object(results, "systems", system)
    listed = body.get("points")
    raw = [get_object(one) for one in listed] if isinstance(listed, list) else []
    points = {str(one.get("name")): parse_metrics(one.get("metrics"), f"systems.{system}.points") for one in raw}
    return points or {END: parse_metrics(body.get("metrics"), f"systems.{system}")}


def _curve(raw: Mapping[str, object]) -> MeasuredCurve:
    names, quality = as_list(raw["points"]), as_list(raw["quality"])
    costs = {cost: as_list(values) for cost, values in as_object(raw["costs"]).items()}
    points = [
        CurvePoint(str(name), _numbers(quality[i]), {cost: _numbers(values[i]) for cost, values in costs.items()})
        for i, name in enumerate(names)
    ]
    bands = {cost: [_band(one) for one in as_list(band)] for cost, band in get_object(raw, "bands").items()}
    return MeasuredCurve(points, bands)


def _band(raw: object) -> tuple[float, float, tuple[float, float]]:
    one = as_object(raw)
    low, high = as_list(one["ci"])
    return as_number(one["quality"]), as_number(one["cost"]), (as_number(low), as_number(high))


def _numbers(values: object) -> list[float]:
    return [math.nan if value is None else as_number(value) for value in as_list(values)]


def _without_frontier(results: Mapping[str, object], parsed: Results) -> MeasuredCurves:
    trained = parsed.trained or list(parsed.systems)
    quality = next((name for name in QUALITIES if parsed.values_of(name, trained)), QUALITIES[0])
    costs = [name for name in COSTS if parsed.values_of(name, trained)]
    base = parsed.systems.get(BASE, {})
    curves = {}
    for system in parsed.systems:
        points = []
        for name, metrics in points_of(results, system).items():
            if quality in metrics:
                lost = {cost: _lost(metrics[cost], cost, base.get(cost)) for cost in costs if cost in metrics}
                points.append(CurvePoint(name, _seeds(metrics[quality]), {k: v for k, v in lost.items() if v}))
        if points:
            curves[system] = MeasuredCurve(points)
    return MeasuredCurves(quality, costs, curves, False)


def _seeds(metric: Metric) -> list[float]:
    return list(metric.seeds) or [metric.value]


def _lost(metric: Metric, name: str, base: Metric | None) -> list[float]:
    """Cost per seed; empty if more is better and the base model was not measured."""
    if not column_of(name).higher_is_better:
        return _seeds(metric)
    return [] if base is None else [base.value - value for value in _seeds(metric)]
