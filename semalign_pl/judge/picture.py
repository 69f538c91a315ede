"""Picture of ``semalign judge``: win rate and order bias of each judge, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from semalign_pl.files.atomic import replace_file
from semalign_pl.judge.summary import Estimate


def draw(path: Path, rates: Mapping[str, Estimate], biases: Mapping[str, Estimate], title: str) -> None:
    """Draw two panels with a row per judge; the dashed lines are "no difference" and "no bias".

    Args:
        path: PNG file to write.
        rates: Win rate of A by judge.
        biases: Order bias by judge.
        title: Title.
    """
    from semalign_pl.report.figure import COLOURS, INK, QUIET, clean, new_figure, to_png

    figure = new_figure(8.0, 1.6 + 0.4 * len(rates))
    left, right = figure.subplots(1, 2, sharey=True)
    panels = (
        (left, rates, "Win rate of A (%)", 100.0, 50.0, (0.0, 100.0)),
        (right, biases, "Order bias: first shown wins (1), second (−1)", 1.0, 0.0, (-1.0, 1.0)),
    )
    for axes, estimates, label, factor, neutral, limits in panels:
        clean(axes)
        axes.axvline(neutral, color=QUIET, linewidth=1.0, linestyle="--")
        for place, one in enumerate(estimates.values()):
            value, low, high = (factor * number for number in (one.value, one.low, one.high))
            axes.plot([low, high], [place, place], color=COLOURS[0], linewidth=2.0, solid_capstyle="butt")
            axes.plot([value], [place], "o", color=COLOURS[0], markersize=6)
            axes.annotate(
                f"{value:.0f}" if factor > 1 else f"{value:.2f}", (value, place), (0, 7), fontsize=8, color=INK,
                textcoords="offset points", ha="center",
            )  # fmt: skip
        axes.set_xlim(*limits)
        axes.set_ylim(len(rates) - 0.5, -0.7)
        axes.set_yticks(range(len(rates)), list(rates))
        axes.set_xlabel(label, fontsize=8, color=QUIET)
    figure.suptitle(title, fontsize=9, color=INK, x=0.01, ha="left")
    with replace_file(path) as file:
        file.write(to_png(figure))
