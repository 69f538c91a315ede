"""The frontier: one chart of quality against each cost, whose points select samples."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from .chart import Chart, Mark, colour_of, draw_shape, new_chart, shape_of, with_margin
from .measured_curves import END, CurvePoint, MeasuredCurve, MeasuredCurves, cost_title, mean
from .results import BASE, Column, Results, column_of

RADIUS = {"end": 7.0, "step": 4.6, "scale": 4.6, "other": 5.2}


def frontier_charts(measured: MeasuredCurves, parsed: Results) -> list[Chart]:
    """One chart per cost that some system has; empty if quality and no cost were measured together.

    Args:
        measured: Curves of the study.
        parsed: Results of the study.
    """
    charts = [_chart(measured, parsed, cost) for cost in measured.costs]
    return [chart for chart in charts if chart is not None]


def charts_by_task(
    measured: MeasuredCurves, parsed: Results, groups: Iterable[tuple[str, Collection[str]]]
) -> list[Chart]:
    """Charts of each task's systems alone, as qualities on two test sets have no axis in common.

    Args:
        measured: Curves of the study.
        parsed: Results of the study.
        groups: Title of each task, which begins its charts' titles if several tasks have charts, and its systems.
    """
    drawn: list[tuple[str, list[Chart]]] = []
    for title, systems in groups:
        own = {system: curve for system, curve in measured.curves.items() if system in systems}
        if charts := frontier_charts(replace(measured, curves=own), parsed):
            drawn.append((title, charts))
    for title, charts in drawn if len(drawn) > 1 else ():
        for chart in charts:
            chart.title, chart.label = f"{title}: {chart.title}", f"{title}: {chart.label}"
    return [chart for _, charts in drawn for chart in charts]


def kind_of(point: str) -> str:
    """Kind of a point by its name: ``end``, ``step``, ``scale`` or ``other``."""
    kind = point.split("-")[0]
    return kind if kind in RADIUS else "other"


def _chart(measured: MeasuredCurves, parsed: Results, cost: str) -> Chart | None:
    drawn = {system: _with_cost(curve, cost) for system, curve in measured.curves.items()}
    drawn = {system: points for system, points in drawn.items() if points}
    if not drawn:
        return None
    quality, column = column_of(measured.quality), column_of(cost)
    far = _far_base(drawn)
    inside = {s: [p for p in points if far is None or BASE not in (s, p.name)] for s, points in drawn.items()}
    values = [(q, c) for points in inside.values() for point in points for q, c in _seeds(point, cost)]
    bands = {system: measured.curves[system].bands.get(cost, []) for system in drawn}
    heights = [value for _, value in values] + [edge for band in bands.values() for *_, ci in band for edge in ci]
    title = f"{quality.title} against {cost_title(column)}"
    chart = new_chart(
        title, "", with_margin(x for x, _ in values), with_margin([0.0, *heights]), quality.axis, cost_title(column)
    )
    chart.better = "better ↘" if quality.higher_is_better else "better ↙"
    names = ", ".join(parsed.title_of(system) for system in drawn)
    chart.label = f"{title}, for {names}. Every point is a button that shows its samples."
    chart.rules.append(("zero", f"M{chart.left:g},{chart.y(0):g}H{chart.right:g}"))
    for system, points in drawn.items():
        colour = colour_of(system, parsed)
        if len(bands[system]) > 1:
            xs = [q for q, _, _ in bands[system]]
            low, high = [ci[0] for *_, ci in bands[system]], [ci[1] for *_, ci in bands[system]]
            chart.bands.append((colour, chart.polyline([*xs, *reversed(xs)], [*low, *reversed(high)])))
        if len(points) > 1:
            path = chart.polyline([mean(p.quality) for p in points], [mean(p.costs[cost]) for p in points])
            chart.lines.append((colour, path))
    owners = {parsed.folder_of(system): system for system in parsed.systems}
    marks: dict[tuple[str, str], Mark] = {}  # curves that begin in one point share its mark
    for system, points in inside.items():
        for point in points:
            owner = (owners[point.name], END) if point.name in owners else (system, point.name)
            mark = _mark(chart, parsed, *owner, point, quality, column, bool(bands[system]))
            marks.setdefault(owner, mark)
    chart.marks += marks.values()
    if far is not None:
        text = f"← {parsed.title_of(BASE)}: {quality.title} {quality.format(mean(far.quality))}"
        chart.notes.append((chart.left + 5, chart.top + 11, "c0", text))
    return chart


def _far_base(drawn: Mapping[str, Sequence[CurvePoint]]) -> CurvePoint | None:
    """Point of the base model if it is further from all others than they are from each other: it would squeeze them."""
    owned = [(BASE if BASE in (system, point.name) else system, point) for system in drawn for point in drawn[system]]
    base = [mean(point.quality) for owner, point in owned if owner == BASE]
    others = [mean(point.quality) for owner, point in owned if owner != BASE]
    if not base or len(others) < 2:
        return None
    gap = min(abs(quality - base[0]) for quality in others)
    return next(point for owner, point in owned if owner == BASE) if gap > max(others) - min(others) else None


def _with_cost(curve: MeasuredCurve, cost: str) -> list[CurvePoint]:
    points = [point for point in curve.points if cost in point.costs]
    return [p for p in points if math.isfinite(mean(p.quality)) and math.isfinite(mean(p.costs[cost]))]


def _seeds(point: CurvePoint, cost: str) -> list[tuple[float, float]]:
    """Quality and cost per seed; the means if not every seed has both."""
    pairs = list(zip(point.quality, point.costs[cost], strict=False))
    equal = len(point.quality) == len(point.costs[cost]) and all(math.isfinite(q + c) for q, c in pairs)
    return pairs if equal else [(mean(point.quality), mean(point.costs[cost]))]


def _mark(
    chart: Chart, parsed: Results, system: str, name: str, point: CurvePoint, quality: Column, cost: Column, band: bool
) -> Mark:
    colour, kind = colour_of(system, parsed), kind_of(name)
    q, c, seeds = mean(point.quality), mean(point.costs[cost.name]), _seeds(point, cost.name)
    spread = f" (mean of {len(seeds)} seeds)" if len(seeds) > 1 and system != BASE else ""  # it is tested once
    title = parsed.title_of(system) + ("" if system == BASE else f", {name}")
    label = f"{title}: {quality.title} {quality.format(q)}, {cost_title(cost)} {cost.format(c)}{spread}"
    bars = "" if band or len(seeds) < 2 else _bars(chart, seeds)
    path = draw_shape(shape_of(system, parsed), chart.x(q), chart.y(c), RADIUS[kind])
    return Mark(path, f"{colour} {kind}", label, system, name, bars)


def _bars(chart: Chart, seeds: list[tuple[float, float]]) -> str:
    """Path of a cross from the lowest to the highest seed."""
    qualities, costs = [q for q, _ in seeds], [c for _, c in seeds]
    x, y = chart.x(mean(qualities)), chart.y(mean(costs))
    return (
        f"M{chart.x(min(qualities)):g},{y:g}H{chart.x(max(qualities)):g}"
        f"M{x:g},{chart.y(min(costs)):g}V{chart.y(max(costs)):g}"
    )
