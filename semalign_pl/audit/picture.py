"""Picture of the audit: AUC of each reward against each spoiler, as a heat map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from semalign_pl.files.atomic import replace_file
from semalign_pl.report.figure import INK, QUIET, new_figure, to_png


def draw(path: Path, columns: list[str], rows: Mapping[str, list[float]], title: str) -> None:
    """Draw the heat map: red cells pay for the fault, white ones do not notice it, blue ones see it.

    Args:
        path: PNG file to write.
        columns: Comparisons.
        rows: AUC of each comparison by reward; NaN where it does not apply.
        title: Verdict in a few words.
    """
    figure = new_figure(9.0, 2.0 + 0.42 * len(rows))
    axes = figure.subplots()
    image = axes.imshow(list(rows.values()), cmap="RdBu", vmin=0.0, vmax=1.0, aspect="auto")
    for place, values in enumerate(rows.values()):
        for column, value in enumerate(values):
            dark = not math.isnan(value) and abs(value - 0.5) > 0.35
            text = "–" if math.isnan(value) else f"{value:.2f}"
            axes.text(column, place, text, ha="center", va="center", fontsize=8, color="white" if dark else INK)
    axes.set_xticks(range(len(columns)), [name.replace("_", "\n") for name in columns])
    axes.set_yticks(range(len(rows)), list(rows))
    axes.tick_params(labelsize=8, colors=QUIET, length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    bar = figure.colorbar(image, ax=axes, fraction=0.03, ticks=[0.0, 0.5, 1.0])
    bar.ax.set_yticklabels(["pays for it", "does not notice", "prefers the draft"], fontsize=7, color=QUIET)
    with replace_file(path) as file:
        file.write(to_png(figure))
