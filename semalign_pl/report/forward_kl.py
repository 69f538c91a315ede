"""Alignment tax against the forward KL on the task's own prompts: does the predictor of RL's Razor hold here?

Source: arXiv 2509.04259, which finds that forgetting follows the forward KL from base to trained policy, measured on
the new task.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from .chart import Chart, Mark, colour_of, draw_shape, new_chart, shape_of, with_margin
from .frontier_chart import RADIUS, kind_of
from .measured_curves import MeasuredCurves, cost_title, mean, points_of
from .results import BASE, Results, column_of

NAME = "forward_kl"


def forward_kl_charts(
    results: Mapping[str, object], measured: MeasuredCurves, parsed: Results
) -> list[tuple[Chart, float | None]]:
    """One chart per cost, with R² of a straight line through all points; empty if forward KL was not measured.

    Args:
        results: Dictionary of ``results.json``.
        measured: Curves of the study, for the costs.
        parsed: Results of the study.

    Returns:
        Chart and R² per cost; R² is ``None`` below three points.
    """
    charts = []
    for cost in measured.costs:
        points = [
            (system, point.name, metrics[NAME].value, mean(point.costs[cost]))
            for system, curve in measured.curves.items()
            if system != BASE
            for point in curve.points
            if cost in point.costs and NAME in (metrics := points_of(results, system).get(point.name, {}))
        ]
        points = [one for one in points if math.isfinite(one[3])]
        if points:
            charts.append((_chart(points, cost, parsed), r_squared([p[2] for p in points], [p[3] for p in points])))
    return charts


def r_squared(xs: Sequence[float], ys: Sequence[float]) -> float | None:
    """Share of the variance of ``ys`` that a straight line in ``xs`` explains; ``None`` below three points.

    >>> r_squared([0.0, 1.0, 2.0], [1.0, 3.0, 5.0])
    1.0
    >>> r_squared([0.0, 1.0], [1.0, 3.0]) is None
    True
    """
    if len(xs) < 3 or len(set(xs)) < 2 or len(set(ys)) < 2:
        return None
    return round(statistics.correlation(xs, ys) ** 2, 12)


def _chart(points: Sequence[tuple[str, str, float, float]], cost: str, parsed: Results) -> Chart:
    column, kl = column_of(cost), column_of(NAME)
    title = f"{cost_title(column)} against forward KL"
    xs, ys = [p[2] for p in points], [p[3] for p in points]
    chart = new_chart(
        title, f"{title}, one point per system and point.", with_margin([0.0, *xs]), with_margin([0.0, *ys]), "", ""
    )
    chart.x_title, chart.y_title = f"{kl.axis}, base ‖ policy", cost_title(column)
    for system, point, x, y in points:
        colour, kind = colour_of(system, parsed), kind_of(point)
        values = f"{kl.title} {kl.format(x)}, {cost_title(column)} {column.format(y)}"
        path = draw_shape(shape_of(system, parsed), chart.x(x), chart.y(y), RADIUS[kind])
        label = f"{parsed.title_of(system)}, {point}: {values}"
        chart.marks.append(Mark(path, f"{colour} {kind}", label, system, point))
    return chart
