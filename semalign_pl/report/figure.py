"""Helpers of all pictures: colours, axes style, PNG output, and placement of labels without overlap."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

# Okabe and Ito's palette, for all kinds of colour vision; without its yellow, which is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
INK, QUIET, FAINT = "#1a1a1a", "#666666", "#d9d9d9"
DPI = 150


def new_figure(width: float, height: float) -> Figure:
    """Empty figure of ``width`` by ``height`` inches, without pyplot and its global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.09, h_pad=0.07)
    FigureCanvasAgg(figure)
    return figure


def to_png(figure: Figure) -> bytes:
    """Content of a PNG file of the figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def clean(axes: Axes) -> None:
    """Style axes: light grid, left and bottom spine only, grey ticks."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#999999")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, colors=QUIET, length=3)


def say(axes: Axes, message: str) -> None:
    """Show a message in place of a panel's axes."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, message, transform=axes.transAxes, ha="center", va="center", fontsize=9, color=QUIET)


def place_labels(axes: Axes, labels: Sequence[Annotation], obstacles: Sequence[Bbox]) -> None:
    """Move each label to the side of its point with the least overlap, inside the axes if possible.

    Args:
        axes: Axes of the labels; their limits must be final.
        labels: Annotations with ``textcoords="offset points"``.
        obstacles: Boxes to avoid, in pixels.
    """
    from matplotlib.transforms import Bbox

    frame, taken = axes.get_window_extent(), list(obstacles)
    for label in labels:
        choices: list[tuple[float, int, Bbox]] = []
        for rank, (x, y, side) in enumerate(_OFFSETS):
            _move(label, x, y, side)
            box = Bbox(label.get_window_extent().get_points())
            inside = Bbox.intersection(box, frame)
            outside = _area(box) - (_area(inside) if inside else 0.0)
            covered = sum(_area(shared) for other in taken if (shared := Bbox.intersection(box, other)))
            choices.append((3 * outside + covered, rank, box))
        _, rank, box = min(choices, key=lambda choice: choice[:2])
        _move(label, *_OFFSETS[rank])
        taken.append(box)


_OFFSETS = tuple(
    (x * reach, y * reach, side)
    for reach in (1.0, 1.8, 2.8)
    for x, y, side in (
        (7, 7, "left"),
        (-7, 7, "right"),
        (7, -9, "left"),
        (-7, -9, "right"),
        (0, 10, "center"),
        (0, -12, "center"),
        (9, 0, "left"),
        (-9, 0, "right"),
    )
)


def _move(label: Annotation, x: float, y: float, side: str) -> None:
    label.set_position((x, y))
    label.set_horizontalalignment(side)  # pyright: ignore[reportArgumentType]
    label.set_verticalalignment("center" if y == 0 else "bottom" if y > 0 else "top")


def _area(box: Bbox) -> float:
    return abs(box.width * box.height)
