"""GRPO's training curves from the ``metrics.csv`` that Lightning's CSVLogger writes."""

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
    """Draws reward and its parts, KL, entropy and length against the optimiser step.

    Each run is a thin line, the running mean of all runs a thick one. Columns that were not logged leave a panel that
    says so.

    Args:
        metrics_csv_rows: The rows of one ``metrics.csv`` as ``csv.DictReader`` yields them, blanks and all; or several
            runs by name, such as one a seed.

    Returns:
        A PNG.
    """
    runs = list(metrics_csv_rows.values()) if isinstance(metrics_csv_rows, Mapping) else [metrics_csv_rows]
    figure = new_figure(8.0, 4.2)
    panels = figure.subplot_mosaic([["reward", "a", "b"], ["reward", "c", "d"]], width_ratios=[1.5, 1, 1])
    parts = [REWARD, *sorted({name for run in runs for row in run for name in row if _is_part(name)})]
    _draw(panels["reward"], runs, parts, "Reward")
    for axes, (name, title) in zip((panels[key] for key in "abcd"), SIDES.items(), strict=True):
        _draw(axes, runs, [name], title)
    many = f", thin lines the {len(runs)} seeds" if len(runs) > 1 else ", thin lines every logged value"
    figure.supxlabel(f"Optimiser step; thick lines are running means{many}", fontsize=8, color=QUIET)
    return to_png(figure)


def curve(rows: Sequence[Row], name: str) -> Curve:
    """One column by step, blanks and NaN left out; ``name_step`` stands in where Lightning logged both kinds."""
    points: Curve = {}
    for number, row in enumerate(rows):
        value = _number(row.get(name) or row.get(f"{name}_step"))
        if value is not None:
            step = _number(row.get("step"))
            points[number if step is None else int(step)] = value
    return points


def running_mean(curves: Sequence[Curve]) -> Curve:
    """The mean over runs at the steps all of them logged, averaged over a window of a twenty-fifth of the curve."""
    shared = sorted(set.intersection(*map(set, curves)))
    mean = [sum(run[step] for run in curves) / len(curves) for step in shared]
    reach = len(shared) // 50
    windows = (mean[max(0, i - reach) : i + reach + 1] for i in range(len(mean)))
    return {step: sum(window) / len(window) for step, window in zip(shared, windows, strict=True)}


def _is_part(name: str | None) -> bool:
    """Whether a column is one reward's share of the total."""
    return name is not None and name.startswith(f"{REWARD}/") and not name.endswith(("_step", "_epoch"))


def _number(text: str | None) -> float | None:
    """A finite number, or ``None`` for a blank."""
    if text is None or not text.strip():
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def _draw(axes: Axes, runs: Sequence[Sequence[Row]], names: Sequence[str], title: str) -> None:
    """One panel; several columns share it with a legend."""
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
        for text in legend.get_texts():  # a reward's name may have a $, which starts a formula
            text.set_parse_math(False)


def _xy(points: Curve) -> tuple[list[int], list[float]]:
    """Steps in order, and their values."""
    steps = sorted(points)
    return steps, [points[step] for step in steps]
