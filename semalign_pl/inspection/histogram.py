"""Histograms as inline SVG with one path each, which keeps a page of many histograms small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from semalign_pl.inspection.lengths import Lengths

BINS = 40
WIDTH, HEIGHT, FOOT = 360, 140, 22


@dataclass(frozen=True)
class Histogram:
    """A histogram as the page's template draws it.

    Attributes:
        bars: SVG path of the bins.
        tail: SVG path of the last bin, for all longer texts; empty if there are none.
        ticks: Position and label of each tick of the horizontal axis.
        limits: Position and label of each limit within the picture.
        beyond: Limits beyond the right edge of the picture.
        label: Text alternative for screen readers.
    """

    bars: str
    tail: str
    ticks: list[tuple[float, str]]
    limits: list[tuple[float, str]]
    beyond: list[int]
    label: str


def histogram(lengths: Lengths, limits: Sequence[int] = ()) -> Histogram:
    """Histogram with bins of equal width up to the 99th percentile, and one bin for all longer texts.

    Args:
        lengths: Lengths of at least one text.
        limits: Lengths to mark in the picture.
    """
    last, longest = lengths.percentiles(99, 100)
    step = math.ceil((last + 1) / BINS)
    bins = [0] * math.ceil((last + 1) / step)
    longer = lengths.longer_than(step * len(bins) - 1)
    for length, count in lengths.counts.items():
        if length < step * len(bins):
            bins[length // step] += count
    slots = [*bins, longer] if longer else bins
    width, top = WIDTH / len(slots), max(slots)
    bars = [_bar(i * width, width, count / top) for i, count in enumerate(bins) if count]
    right = step * len(bins)
    return Histogram(
        bars="".join(bars),
        tail=_bar(len(bins) * width, width, longer / top) if longer else "",
        ticks=[(value / step * width, f"{value:,}") for value in _ticks(right)],
        limits=[((limit + 1) / step * width, f"{limit:,}") for limit in limits if limit < right],
        beyond=[limit for limit in limits if limit >= right],
        label=f"from {min(lengths.counts):,} to {longest:,}, median {lengths.percentiles(50)[0]:,}",
    )


def _bar(left: float, width: float, height: float) -> str:
    tall = height * (HEIGHT - 4)
    return f"M{left + 0.5:.1f} {HEIGHT}v{-tall:.1f}h{max(width - 1, 0.5):.1f}v{tall:.1f}z"


def _ticks(right: int) -> list[int]:
    """Four to nine round numbers from 0, less than ``right``."""
    rough = right / 6
    magnitude = 10 ** math.floor(math.log10(max(rough, 1)))
    step = next(int(m * magnitude) for m in (1, 2, 5, 10) if m * magnitude >= rough or m == 10)
    return list(range(0, right, max(1, step)))
