"""Histogram and cumulative distribution of the per-token NLL change of each system."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from semalign_pl.files.documents import read_json

from .chart import Chart, colour_of, new_chart
from .files import find
from .json_values import as_list, as_number, as_object, get_object
from .results import BASE, REMEDY, Results, column_of

NAME, P90 = "nll_change", "nll_change_p90"
TAIL = 0.001
"""Largest share of tokens cut from each side of the charts."""
PER_NATS = 0.1


@dataclass(frozen=True)
class TokenHistogram:
    """Counts of tokens by their NLL change, summed over seeds.

    Attributes:
        edges: Edges of the bins, ascending, in nats.
        counts: Number of tokens per bin.
    """

    edges: list[float]
    counts: list[float]

    @property
    def cumulative(self) -> list[float]:
        """Share of tokens below each edge."""
        return [total / sum(self.counts) for total in accumulate([0.0, *self.counts])]

    def quantile(self, share: float) -> float:
        """Edge below which at least a share of the tokens is."""
        return next(e for e, c in zip(self.edges, self.cumulative, strict=True) if c >= share - 1e-12)

    def start(self, share: float) -> float:
        """Largest edge below which at most a share of the tokens is."""
        return next(
            e for e, c in zip(reversed(self.edges), reversed(self.cumulative), strict=True) if c <= share + 1e-12
        )


def read_histograms(folder: Path, parsed: Results) -> dict[str, TokenHistogram]:
    """Histogram of every trained system that has one in its tests' ``results.json``.

    Raises:
        ValueError: If a file is malformed; names file and remedy.
    """
    histograms = {}
    for system in parsed.systems:
        merged: TokenHistogram | None = None
        tests = {} if system == BASE else find(folder, parsed.folder_of(system), "results.json", parsed.seeds)
        for path in tests.values():
            one = _histogram(read_json(path, f"{REMEDY}."), path)
            if one is not None:
                merged = _add(merged, one, path)
        if merged is not None:
            histograms[system] = merged
    return histograms


def drift_charts(histograms: Mapping[str, TokenHistogram], parsed: Results) -> list[Chart]:
    """Histogram (logarithmic) and cumulative distribution, with each system's 90th percentile marked.

    Args:
        histograms: Histogram by system.
        parsed: Results, for the percentiles and titles.
    """
    if not histograms:
        return []
    span = min(h.start(TAIL) for h in histograms.values()), max(h.quantile(1 - TAIL) for h in histograms.values())
    axis = "NLL change against the base model (nats/token)"
    densities = {system: _density(h, span) for system, h in histograms.items()}
    positive = [value for _, ys in densities.values() for value in ys if value > 0]
    decades = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)) + 1e-9)
    names = ", ".join(map(parsed.title_of, histograms))
    bars = new_chart("Histogram", f"Histogram of the NLL change per token, for {names}.", span, decades, axis, "")
    bars.y_title = f"Tokens (% per {PER_NATS} nats, log scale)"
    bars.y_ticks = [(bars.y(power), f"{10.0**power:g}") for power in range(decades[0], decades[1] + 1)]
    cdf = new_chart(
        "Cumulative distribution", f"Cumulative distribution of the NLL change, for {names}.", span, (0, 1), axis, ""
    )
    cdf.y_title = "Share of tokens below"
    for system, histogram in histograms.items():
        colour, (xs, ys) = colour_of(system, parsed), densities[system]
        logs = [max(math.log10(y), decades[0]) if y > 0 else decades[0] for y in ys]
        bars.lines.append((colour, bars.polyline(xs, logs)))
        shares = [(e, c) for e, c in zip(histogram.edges, histogram.cumulative, strict=True) if span[0] <= e <= span[1]]
        cdf.lines.append((colour, cdf.polyline([e for e, _ in shares], [c for _, c in shares])))
    _mark_p90(bars, histograms, parsed, bars.top + 11)
    _mark_p90(cdf, histograms, parsed, cdf.bottom - 8 - 15 * (len(histograms) - 1))
    return [bars, cdf]


def _histogram(results: object, path: Path) -> TokenHistogram | None:
    """Histogram of one test; ``None`` if the test measured none."""
    listed = get_object(results, "histograms")
    if NAME not in listed:
        return None
    try:
        raw = as_object(listed[NAME])
        edges, counts = ([as_number(one) for one in as_list(raw[key])] for key in ("edges", "counts"))
        if len(edges) != len(counts) + 1 or edges != sorted(set(edges)) or min(counts) < 0:
            raise ValueError("needs ascending edges, one more than counts")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: histograms.{NAME} is malformed ({error}). {REMEDY}.") from error
    return TokenHistogram(edges, counts) if sum(counts) else None


def _add(merged: TokenHistogram | None, one: TokenHistogram, path: Path) -> TokenHistogram:
    if merged is None:
        return one
    if merged.edges != one.edges:
        raise ValueError(f"{path}: histograms.{NAME} has other edges than the other seeds'; test all seeds again.")
    return TokenHistogram(one.edges, [a + b for a, b in zip(merged.counts, one.counts, strict=True)])


def _density(histogram: TokenHistogram, span: tuple[float, float]) -> tuple[list[float], list[float]]:
    """Outline of the histogram within a span: edges twice each, and per cent of the tokens per `PER_NATS` nats."""
    xs: list[float] = []
    ys: list[float] = []
    for left, right, count in zip(histogram.edges[:-1], histogram.edges[1:], histogram.counts, strict=True):
        if left >= span[0] and right <= span[1]:
            xs += [left, right]
            ys += [100 * count / sum(histogram.counts) / (right - left) * PER_NATS] * 2
    return xs, ys


def _mark_p90(chart: Chart, histograms: Mapping[str, TokenHistogram], parsed: Results, top: float) -> None:
    """Vertical line at the exact 90th percentile of each system, and labels with their values from pixel ``top`` on."""
    column, inside = column_of(P90), (chart.x.low, chart.x.high)
    row = 0
    for system in histograms:
        metric = parsed.systems[system].get(P90)
        if metric is not None and inside[0] <= metric.value <= inside[1]:
            x, colour = chart.x(metric.value), colour_of(system, parsed)
            chart.rules.append((f"p90 {colour}", f"M{x:g},{chart.bottom:g}V{chart.top:g}"))
            chart.notes.append((x + 4, top + 15 * row, colour, f"P90 {column.format(metric.value)}"))
            row += 1
