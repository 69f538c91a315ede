"""Charts as inline SVG: scales, ticks and shapes. The template ``page/chart.html.jinja`` draws them.

Colours are CSS classes (``c0`` to ``c7``), so that one chart serves the light and the dark page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .results import BASE, Results

WIDTH, HEIGHT = 460.0, 320.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 14.0, 14.0, 46.0
FIXED_COLOURS = {BASE: "c0", "cold_start": "c1", "strong_sft": "c2", "semantic_grpo": "c3"}
OTHER_COLOURS = ("c4", "c5", "c6", "c7", "c2", "c3", "c1")
SHAPES = {
    "circle": "M{0},{1}m-{2},0a{2},{2} 0 1,0 {3},0a{2},{2} 0 1,0 -{3},0Z",
    "square": "M{0},{1}m-{2},-{2}h{3}v{3}h-{3}Z",
    "triangle": "M{0},{1}m0,-{4}l{4},{3}h-{5}Z",
    "diamond": "M{0},{1}m0,-{4}l{4},{4}l-{4},{4}l-{4},-{4}Z",
}
FIXED_SHAPES = {"c0": "circle", "c1": "square", "c2": "triangle", "c3": "diamond"}


@dataclass(frozen=True)
class Scale:
    """Linear map from values to pixels of the SVG.

    Attributes:
        low: Smallest value.
        high: Largest value; above ``low``.
        start: Pixel of ``low``.
        end: Pixel of ``high``.
    """

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixel of a value, rounded to 0.1."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1) + 0.0

    def ticks(self, count: int = 5) -> list[tuple[float, str]]:
        """Pixel and label of about ``count`` round values."""
        step = round_step((self.high - self.low) / count)
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(self(i * step), f"{i * step + 0.0:.{digits}f}") for i in range(first, last + 1)]


def round_step(step: float) -> float:
    """Smallest of 1, 2, 5, 10, 20, … (and their tenths, hundredths, …) that is at least ``step``.

    >>> [round_step(x) for x in (0.3, 3.0, 11.0)]
    [0.5, 5.0, 20.0]
    """
    size = 10.0 ** math.floor(math.log10(step))
    return next(size * factor for factor in (1, 2, 5, 10) if size * factor >= step * (1 - 1e-9))


def with_margin(values: Iterable[float], share: float = 0.08) -> tuple[float, float]:
    """Range of values with a margin on both sides; a single value is in the middle."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    margin = (high - low) * share or max(abs(high), 1.0) * share
    return low - margin, high + margin


@dataclass(frozen=True)
class Mark:
    """One point of a chart.

    Attributes:
        path: SVG path of its shape.
        classes: CSS classes.
        label: Text for the tooltip and for screen readers.
        system: Name of the system that a click selects; empty if a click does nothing.
        point: Name of the system's point.
        bars: SVG path of the error bars; may be empty.
    """

    path: str
    classes: str
    label: str
    system: str = ""
    point: str = ""
    bars: str = ""


@dataclass
class Chart:
    """One chart as the template draws it.

    Attributes:
        title: Title.
        label: Text alternative for screen readers.
        x: Scale of the horizontal axis.
        y: Scale of the vertical axis.
        x_title: Title of the horizontal axis.
        y_title: Title of the vertical axis.
        better: Arrow in the direction that is better; may be empty.
        bands: CSS class and polygon of each band.
        lines: CSS class and polyline of each curve.
        marks: Points.
        notes: Pixels (x, y), CSS class and text of each label in the chart.
        rules: CSS class and path of each reference line.
        y_ticks: Pixel and label of each tick of the vertical axis, if not those of the scale.
        legend: CSS class and name of each curve; empty if the page's own legend names them.
    """

    title: str
    label: str
    x: Scale
    y: Scale
    x_title: str
    y_title: str
    better: str = ""
    bands: list[tuple[str, str]] = field(default_factory=list)
    lines: list[tuple[str, str]] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    notes: list[tuple[float, float, str, str]] = field(default_factory=list)
    rules: list[tuple[str, str]] = field(default_factory=list)
    y_ticks: list[tuple[float, str]] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)

    width, height = WIDTH, HEIGHT
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM

    @property
    def ticks_of_y(self) -> list[tuple[float, str]]:
        """Pixel and label of each tick of the vertical axis."""
        return self.y_ticks or self.y.ticks()

    def polyline(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        """Pixels of a curve, as the attribute ``points``."""
        return " ".join(f"{self.x(x):g},{self.y(y):g}" for x, y in zip(xs, ys, strict=True))


def new_chart(
    title: str, label: str, xs: tuple[float, float], ys: tuple[float, float], x_title: str, y_title: str
) -> Chart:
    """Empty chart whose axes span two ranges."""
    x, y = Scale(*xs, LEFT, WIDTH - RIGHT), Scale(*ys, HEIGHT - BOTTOM, TOP)
    return Chart(title, label, x, y, x_title, y_title)


def colour_of(system: str, parsed: Results) -> str:
    """CSS class of a system's colour; fixed for the paper's four systems."""
    if system in FIXED_COLOURS:
        return FIXED_COLOURS[system]
    return OTHER_COLOURS[_number_of(system, parsed) % len(OTHER_COLOURS)]


def shape_of(system: str, parsed: Results) -> str:
    """Name of a system's shape, so that no system is told by colour alone, and systems of one colour by their shape."""
    if system in FIXED_COLOURS:
        return FIXED_SHAPES[FIXED_COLOURS[system]]
    return list(SHAPES)[_number_of(system, parsed) % len(SHAPES)]


def _number_of(system: str, parsed: Results) -> int:
    """Number of a system among those without a colour of their own."""
    others = [name for name in parsed.systems if name not in FIXED_COLOURS]
    return others.index(system) if system in others else 0


def draw_shape(shape: str, x: float, y: float, radius: float) -> str:
    """SVG path of a shape around a pixel."""
    sizes = (radius, 2 * radius, radius * 1.2, radius * 2.4)
    return SHAPES[shape].format(f"{x:g}", f"{y:g}", *(f"{size:.3g}" for size in sizes))
