"""Picture of the map, from its results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from map_table import place_of

if TYPE_CHECKING:
    from semalign_pl.study.systems import Study


def scale_of(point: str) -> float:
    """Scale of a point's update.

    >>> scale_of("end"), scale_of("scale-0.6")
    (1.0, 0.6)
    """
    return 1.0 if point == "end" else float(point.removeprefix("scale-"))


def chart(content: Mapping[str, Any], study: Study, path: Path) -> None:
    """Small multiples of quality against CMRC F1 lost: a row per corpus, a column per style, a line per system.

    Args:
        content: Result of `collect`.
        study: Study, for the titles of systems.
        path: File to write.
    """
    from semalign_pl.report.figure import COLOURS, clean, new_figure, say, to_png

    titles = {one.key: one.label or one.key for one in study.systems}
    placed = {place_of(one["options"]): one for one in content["conditions"].values()}
    corpora = list(dict.fromkeys(corpus for corpus, _ in placed))
    styles = sorted({style for _, style in placed})
    figure = new_figure(3.2 * len(styles) + 1.8, 2.6 * len(corpora))
    panels = figure.subplots(len(corpora), len(styles), squeeze=False, sharex=True, sharey=True)
    lines = {}
    for row, corpus in zip(panels, corpora, strict=True):
        for axes, style in zip(row, styles, strict=True):
            if (corpus, style) not in placed:
                say(axes, "not measured")
                continue
            condition = placed[corpus, style]
            base = condition["base"]
            clean(axes)
            axes.set_title(f"{corpus} pairs, style {style:g}", fontsize=8)
            for number, (system, one) in enumerate(condition["systems"].items()):
                points = [base, *(one["points"][name] for name in sorted(one["points"], key=scale_of))]
                (lines[titles[system]],) = axes.plot(
                    [point["chrf_any_style"] for point in points],
                    [base["cmrc_f1"] - point["cmrc_f1"] for point in points],
                    color=COLOURS[number % len(COLOURS)],
                    linestyle="-" if number < len(COLOURS) else "--",
                    marker="o" if number < len(COLOURS) else "s",
                    markersize=3,
                )
    figure.supxlabel("chrF against all wordings", fontsize=8)
    figure.supylabel("CMRC F1 lost", fontsize=8)
    figure.legend(lines.values(), lines.keys(), fontsize=7, frameon=False, loc="outside right center")
    path.write_bytes(to_png(figure))
