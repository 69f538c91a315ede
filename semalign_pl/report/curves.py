"""Training curves of GRPO from the ``metrics.csv`` that Lightning's CSVLogger writes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from semalign_pl.messages.terminal import visible

from .figure import COLOURS, INK, QUIET, clean, new_figure, say, to_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, str | None]
Curve = dict[int, float]
REWARD = "train/reward"
SIDES = {
    "train/kl": "KL to reference (nats/token)",
    "train/entropy": "Entropy (nats/token)",
    "train/completion_tokens": "Completion length (tokens)",
    "train/ended_by_eos": "Ended by EOS (share)",
}


def reward_curves(metrics_csv_rows: Sequence[Row] | Mapping[str, Sequence[Row]]) -> bytes:
    """Draw rewards (total and per function), KL, entropy, completion length and share ended by EOS, by optimiser step.

    Each run is a thin line, and the running mean of all runs is a thick line. A panel without data says "not logged".

    Args:
        metrics_csv_rows: Rows of one ``metrics.csv`` as ``csv.DictReader`` yields them, blank cells included; or rows
            of several runs by name, for instance one run per seed.

    Returns:
        Content of a PNG file.
    """
    runs = list(metrics_csv_rows.values()) if isinstance(metrics_csv_rows, Mapping) else [metrics_csv_rows]
    figure = new_figure(8.0, 4.2)
    panels = figure.subplot_mosaic([["reward", "a", "b"], ["reward", "c", "d"]], width_ratios=[1.5, 1, 1])
    rewards = [REWARD, *sorted({name for run in runs for row in run for name in row if is_one_reward(name)})]
    _draw(panels["reward"], runs, rewards, "Reward")
    for axes, (name, title) in zip((panels[key] for key in "abcd"), SIDES.items(), strict=True):
        _draw(axes, runs, [name], title)
    many = f", thin lines the {len(runs)} seeds" if len(runs) > 1 else ", thin lines every logged value"
    figure.supxlabel(f"Optimiser step; thick lines are running means{many}", fontsize=8, color=QUIET)
    return to_png(figure)


def curve(rows: Sequence[Row], name: str) -> Curve:
    """Values of one column by step, without blanks and NaN.

    Args:
        rows: Rows of one ``metrics.csv``.
        name: Name of the column. Where it is blank, ``{name}_step`` is read instead: Lightning appends ``_step`` if it
            logs a metric per step and per epoch.
    """
    points: Curve = {}
    for number, row in enumerate(rows):
        value = _number(row.get(name) or row.get(f"{name}_step"))
        if value is not None:
            step = _number(row.get("step"))
            points[number if step is None else int(step)] = value
    return points


def running_mean(curves: Sequence[Curve]) -> Curve:
    """Mean over runs at the steps that all of them logged, smoothed over a window of 1/25 of the curve."""
    shared = sorted(set.intersection(*map(set, curves)))
    mean = [sum(run[step] for run in curves) / len(curves) for step in shared]
    reach = len(shared) // 50
    windows = (mean[max(0, i - reach) : i + reach + 1] for i in range(len(mean)))
    return {step: sum(window) / len(window) for step, window in zip(shared, windows, strict=True)}


def is_one_reward(name: str | None) -> bool:
    """Return true if a column is the value of one reward function."""
    return name is not None and name.startswith(f"{REWARD}/") and not name.endswith(("_step", "_epoch"))


def _number(text: str | None) -> float | None:
    """Number of a cell, or ``None`` if it is blank, infinite or NaN."""
    if text is None or not text.strip():
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def _draw(axes: Axes, runs: Sequence[Sequence[Row]], names: Sequence[str], title: str) -> None:
    """Draw one panel; with a legend if it has several columns."""
    drawn = {name: found for name in names if (found := [c for run in runs if (c := curve(run, name))])}
    if not drawn:
        say(axes, f"{title}:\nnot logged")
        return
    clean(axes)
    for number, (name, found) in enumerate(drawn.items()):
        colour = INK if name == REWARD and len(drawn) > 1 else COLOURS[(number - (REWARD in drawn)) % len(COLOURS)]
        for points in found:
            axes.plot(*_xy(points), color=colour, linewidth=0.7, alpha=0.3)
        mean = running_mean(found)
        label = "total" if name == REWARD else visible(name.removeprefix(f"{REWARD}/"))
        marker = "o" if len(mean) == 1 else None
        axes.plot(*_xy(mean), color=colour, linewidth=1.9, marker=marker, markersize=4, label=label)
    axes.set_title(title, loc="left", fontsize=9, color=INK)
    if len(drawn) > 1:
        legend = axes.legend(fontsize=8, frameon=False, labelcolor=INK)
        for text in legend.get_texts():  # Matplotlib would read a $ in a reward's name as the start of a formula
            text.set_parse_math(False)


def _xy(points: Curve) -> tuple[list[int], list[float]]:
    """Steps in ascending order, and their values."""
    steps = sorted(points)
    return steps, [points[step] for step in steps]
