"""Picture of quality against general ability lost, of the finished adapters: where each system ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.files.atomic import replace_file

from .curves import reward_curves
from .figure import INK, QUIET, clean, new_figure, place_labels, say, to_png
from .results import BASE, QUALITY, Column, Metric, Results, column_of, parse
from .table import cost_columns

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patheffects import AbstractPathEffect
    from matplotlib.transforms import Bbox

Points = dict[str, tuple[Metric, Metric]]

__all__ = ["quality_against_tax", "reward_curves"]

STYLES = {
    "base": ("#666666", "o"),
    "cold_start": ("#E69F00", "s"),
    "strong_sft": ("#D55E00", "^"),
    "semantic_grpo": ("#0072B2", "D"),
}
OTHER_MARKERS = "vPXph*"
OTHER_COLOURS = ("#009E73", "#CC79A7", "#56B4E9", "#000000", "#D55E00", "#0072B2")
ZERO_FOR_BASE = ("nll_change_mean", "nll_change_p90", "kl_mean")


def quality_against_tax(
    results: Mapping[str, object],
    path_png: Path,
    quality: str = "semantic_similarity",
    tax: str = "nll_change_mean",
) -> Path:
    """Draw quality against the alignment tax and against CMRC F1, 1200 pixels wide.

    If the study's frontier has other costs than CMRC F1, the second panel has the first of them. If the quality is
    language consistency, a dashed line shows the references' own value. A panel whose metric was not measured says so.
    If ``quality`` was not measured, the first quality metric that was is drawn instead. NLL change and KL of the base
    model are zero by definition and need not be in the results.

    Args:
        results: Dictionary of ``results.json``.
        path_png: PNG file to write.
        quality: Metric on the vertical axis.
        tax: Metric on the horizontal axis of the first panel.

    Returns:
        ``path_png``.

    Raises:
        ValueError: If ``results`` is malformed.
    """
    parsed = parse(results)
    if not parsed.values_of(quality):
        quality = next((column.name for column in QUALITY if parsed.values_of(column.name)), quality)
    figure = new_figure(8.0, 4.2)
    panels = figure.subplots(1, 2)
    costs, comprehension = cost_columns(results), column_of("cmrc_f1")
    others = (column for column in costs if column.name != tax and parsed.values_of(column.name))
    columns = column_of(tax), comprehension if comprehension in costs else next(others, comprehension)
    points = [_draw(axes, parsed, column_of(quality), x) for axes, x in zip(panels, columns, strict=True)]
    figure.supxlabel(_footnote(parsed), fontsize=7.5, color=QUIET)
    figure.draw_without_rendering()
    for axes, drawn in zip(panels, points, strict=True):
        _label(axes, drawn, parsed)
    with replace_file(path_png) as file:
        file.write(to_png(figure))
    return path_png


def _draw(axes: Axes, parsed: Results, quality: Column, tax: Column) -> Points:
    """Draw one panel; returns (x, y) of each system."""
    xs, ys = parsed.values_of(tax.name), parsed.values_of(quality.name)
    if tax.name in ZERO_FOR_BASE and BASE in ys and xs:
        xs.setdefault(BASE, Metric(0.0))
    points = {system: (xs[system], ys[system]) for system in parsed.systems if system in xs and system in ys}
    if not points:
        missing = quality.title if not ys else tax.title if not xs else f"{tax.title} and {quality.title}"
        say(axes, f"{missing}:\nnot measured{' for any system' if not (xs and ys) else ' together'}")
        return points
    clean(axes)
    for system, (x, y) in points.items():
        colour, marker = style_of(system, parsed)
        if len(x.seeds) == len(y.seeds):
            axes.scatter(x.seeds, y.seeds, s=12, color=colour, alpha=0.35, linewidths=0, zorder=2)
        axes.errorbar(
            x.value,
            y.value,
            xerr=_error(x),
            yerr=_error(y),
            fmt=marker,
            markersize=7.5,
            color=colour,
            markeredgecolor="white",
            markeredgewidth=0.8,
            elinewidth=1.1,
            capsize=2.5,
            zorder=4,
        )
    if BASE in points:
        axes.axvline(points[BASE][0].value, color=QUIET, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
    for system, start, end in arrows(points, parsed):
        shape = {"arrowstyle": "-|>", "color": style_of(system, parsed)[0], "alpha": 0.55, "shrinkA": 7, "shrinkB": 7}
        axes.annotate("", xy=end, xytext=start, arrowprops=shape, zorder=3)
    if quality.name == "language_consistency":
        for reference in parsed.references:
            axes.axhline(reference.value, color=QUIET, linewidth=0.9, linestyle=(0, (6, 3)), zorder=1)
            shown = f"references {quality.format(reference.value)}"
            beside = {"transform": axes.get_yaxis_transform(), "ha": "right", "va": "bottom", "fontsize": 8}
            axes.text(0.99, reference.value, shown, color=QUIET, zorder=5, path_effects=_halo(), **beside)
    axes.margins(0.2, 0.16)
    axes.set_xlabel(tax.axis, fontsize=9, color=INK)
    axes.set_ylabel(quality.axis, fontsize=9, color=INK)
    axes.set_title(f"Quality against {tax.title}", loc="left", fontsize=10, color=INK, parse_math=False)
    up, right = quality.higher_is_better, tax.higher_is_better
    corner = ("↗" if right else "↖") if up else ("↘" if right else "↙")
    axes.set_title(f"better {corner}", loc="right", fontsize=8.5, color=QUIET)
    return points


def style_of(system: str, parsed: Results) -> tuple[str, str]:
    """Colour and marker of a system; fixed for the paper's four systems."""
    if system in STYLES:
        return STYLES[system]
    number = [other for other in parsed.systems if other not in STYLES].index(system)
    return OTHER_COLOURS[number % len(OTHER_COLOURS)], OTHER_MARKERS[number % len(OTHER_MARKERS)]


def _error(metric: Metric) -> list[list[float]] | None:
    """Error bar below and above: one standard deviation over seeds, else the interval; ``None`` without either."""
    if metric.sd is not None:
        return [[metric.sd], [metric.sd]]
    if metric.ci is None:
        return None
    return [[max(0.0, metric.value - metric.ci[0])], [max(0.0, metric.ci[1] - metric.value)]]


def arrows(points: Points, parsed: Results) -> list[tuple[str, tuple[float, float], tuple[float, float]]]:
    """Arrows from each system but base to the systems trained from it, as (system, start point, end point)."""
    ends = {system: (x.value, y.value) for system, (x, y) in points.items() if system != BASE}
    return [(s, ends[start], ends[s]) for s, start in parsed.starts.items() if start in ends and s in ends]


def _label(axes: Axes, points: Points, parsed: Results) -> None:
    """Label the points, clear of markers, error bars and arrows."""
    obstacles = [text.get_window_extent() for text in axes.texts if text.get_text()]
    text = {
        "path_effects": _halo(),
        "textcoords": "offset points",
        "fontsize": 8.5,
        "color": INK,
        "parse_math": False,
        "annotation_clip": False,
    }
    labels = [
        axes.annotate(parsed.title_of(s), (x.value, y.value), (0, 0), zorder=5, **text) for s, (x, y) in points.items()
    ]
    obstacles += [box for point in points.values() for box in _boxes(axes, *point)]
    if BASE in points:
        bottom, top = axes.get_ylim()
        obstacles.append(_box(axes, (points[BASE][0].value, bottom), (0, top - bottom), 2))
    for _, (x0, y0), (x1, y1) in arrows(points, parsed):
        steps = [i / 24 for i in range(1, 24)]
        obstacles += [_box(axes, (x0 + t * (x1 - x0), y0 + t * (y1 - y0)), (0, 0), 4) for t in steps]
    place_labels(axes, labels, obstacles)


def _halo() -> list[AbstractPathEffect]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.5, foreground="white")]


def _boxes(axes: Axes, x: Metric, y: Metric) -> list[Bbox]:
    """Boxes of a point's marker and error bars, in pixels."""
    (left,), (right,) = _error(x) or ([0.0], [0.0])
    (down,), (up,) = _error(y) or ([0.0], [0.0])
    centre = (x.value, y.value)
    return [
        _box(axes, centre, (0, 0), 9),
        _box(axes, (x.value - left, y.value), (left + right, 0), 2),
        _box(axes, (x.value, y.value - down), (0, down + up), 2),
    ]


def _box(axes: Axes, corner: tuple[float, float], size: tuple[float, float], pad: float) -> Bbox:
    from matplotlib.transforms import Bbox

    ends = axes.transData.transform([corner, (corner[0] + size[0], corner[1] + size[1])])
    return Bbox(ends).padded(pad)


def _footnote(parsed: Results) -> str:
    """Explanation of the error bars."""
    metrics = [metric for system in parsed.systems.values() for metric in system.values()]
    counts = sorted({len(metric.seeds) for metric in metrics if metric.seeds})
    if counts:
        many = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        return f"Bars: one standard deviation over {many} seeds; small dots: the seeds."
    if any(metric.ci for metric in metrics):
        return "Bars: 95 % bootstrap interval over test rows, one seed."
    return "No spread was measured."
