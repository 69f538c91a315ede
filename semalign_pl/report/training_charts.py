"""Training curves of a system that learned from rewards, as charts of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from semalign_pl.messages.terminal import visible

from .chart import Chart, new_chart, with_margin
from .curves import REWARD, SIDES, Curve, Row, curve, is_one_reward, running_mean

MAX_POINTS = 240
"""Most points of a drawn curve: about one per pixel."""


def training_charts(logs: Mapping[str, Sequence[Row]]) -> list[Chart]:
    """Reward (total and per function), KL, entropy, length and share ended by EOS by optimiser step; those logged.

    Each seed is a thin line and the running mean over the seeds a thick one.

    Args:
        logs: Rows of ``metrics.csv`` by seed.
    """
    runs = list(logs.values())
    names = sorted({name for run in runs for row in run for name in row if is_one_reward(name)})
    charts = [_chart("Reward", runs, [REWARD, *names])]
    charts += [_chart(title, runs, [name]) for name, title in SIDES.items()]
    return [chart for chart in charts if chart is not None]


def has_reward(rows: Sequence[Row]) -> bool:
    """Return true if a log has a reward in some row."""
    return any(value and name and name.startswith(REWARD) for row in rows for name, value in row.items())


def _chart(title: str, runs: Sequence[Sequence[Row]], names: Sequence[str]) -> Chart | None:
    curves = {name: [found for run in runs if (found := curve(run, name))] for name in names}
    curves = {name: found for name, found in curves.items() if found}
    if not curves:
        return None
    means = {name: running_mean(found) for name, found in curves.items()}
    every = [one for found in curves.values() for one in found] + list(means.values())
    steps = [step for one in every for step in one]
    span = (min(steps), max(steps)) if min(steps) < max(steps) else (min(steps) - 1, max(steps) + 1)
    heights = with_margin((value for one in every for value in one.values()), 0.05)
    chart = new_chart(title, f"{title} by optimiser step.", span, heights, "Optimiser step", title)
    for number, (name, found) in enumerate(curves.items()):
        colour = "c0" if name == REWARD and len(curves) > 1 else f"c{2 + (number - (REWARD in curves)) % 5}"
        chart.lines += [(f"{colour} thin", _points(chart, one)) for one in found]
        chart.lines.append((colour, _points(chart, means[name])))
        label = "total" if name == REWARD else visible(name.removeprefix(f"{REWARD}/"))
        if len(curves) > 1:
            chart.legend.append((colour, label))
    return chart


def _points(chart: Chart, one: Curve) -> str:
    steps = sorted(one)
    kept = steps[:: max(1, len(steps) // MAX_POINTS)]
    return chart.polyline(kept, [one[step] for step in kept])
