"""Quality and costs of all points of all systems, under the same resamples of the items."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence

import numpy as np

from semalign_pl.frontier.measured_point import MeasuredMetric, MeasuredPoint
from semalign_pl.frontier.measured_study import MeasuredSystem
from semalign_pl.functional.cost import less_is_better
from semalign_pl.functional.formulas import value
from semalign_pl.functional.significance import Array
from semalign_pl.messages.terminal import visible

DRAWS, SEED = 1000, 12345

_OF_REFERENCE = {"chrf": slice(1, None, 3), "bleu": slice(1, 2), "sentence_bleu": slice(1, 2)}
"""Statistics of the reference alone, by formula: n-gram counts or length, the same whatever the prediction."""
_TEST_ALIKE = "test both on the same files with the same task, or name only systems of one task in frontier.compare"


class Resampled:
    """Metrics of points under resampling of the items, paired: each item set has one list of resamples.

    Args:
        base: Base model; the items of the others must be equal to its items.
        draws: Number of resamples.

    Raises:
        ValueError: If a metric was measured with other items or another signature than the base's.
    """

    def __init__(self, base: MeasuredPoint, draws: int = DRAWS) -> None:
        self.base = base
        self.draws = draws
        self._counts: dict[tuple[str, int], Array] = {}

    def values(self, system: MeasuredSystem, metric: str) -> Array:
        """Values of a metric, ``(draws + 1, seeds, points)``; index 0 is measured on the items as they are."""
        return np.stack([self._stack(points, metric) for points in system.seeds], axis=1)

    def cost(self, system: MeasuredSystem, metric: str) -> Array:
        """Cost of a metric, ``(draws + 1, seeds, points)``: the loss against base if more of the metric is better."""
        values = self.values(system, metric)
        return values if less_is_better(metric) else self._values(self.base, metric)[:, None, None] - values

    def number_of_items(self, metric: str) -> int:
        """Number of items that a metric is computed from."""
        return len(self.metric_of(self.base, metric).ids)

    def metric_of(self, point: MeasuredPoint, metric: str) -> MeasuredMetric:
        """One metric of a point.

        Raises:
            ValueError: If the point lacks the metric.
        """
        if metric not in point.metrics:
            has = ", ".join(sorted(point.metrics)) or "none"
            raise ValueError(
                f"{point.folder}: has no items of {visible(metric)}, so it cannot be resampled (metrics with items: "
                f"{visible(has)}); name another metric, or test again with it"
            )
        return point.metrics[metric]

    def align(self, point: MeasuredPoint, metric: str) -> Array:
        """Statistics of a metric in the base's order of items, after a check that the two were tested alike."""
        ours, reference = self.metric_of(point, metric), self.metric_of(self.base, metric)
        where = f"{point.folder} and {self.base.folder}"
        for field in ("signature", "items", "formula"):
            pair = getattr(ours, field), getattr(reference, field)
            if pair[0] != pair[1]:
                raise ValueError(
                    f"{where}: {visible(metric)} has the {field} {visible(pair[0])} in one and {visible(pair[1])} in "
                    "the other; test both alike, or compare other systems"
                )
        if only := set(ours.ids) ^ set(reference.ids):
            example = min(only)
            has = point.folder if example in set(ours.ids) else self.base.folder
            raise ValueError(
                f"{where}: {visible(metric)} was measured on other items: {len(only)} are in one only, such as "
                f"{visible(example)} in {has}; {_TEST_ALIKE}"
            )
        place = {key: index for index, key in enumerate(ours.ids)}
        statistics = ours.statistics[[place[key] for key in reference.ids]]
        # Ids are lines of files, so another task or file may have the same ones.
        several = (
            "nrefs:var" in reference.signature
        )  # then these are of the reference that is nearest to the prediction
        columns = slice(0) if several else _OF_REFERENCE.get(reference.formula, slice(0))
        if not np.array_equal(statistics[:, columns], reference.statistics[:, columns]):
            raise ValueError(
                f"{where}: {visible(metric)} was measured against other references of the same ids; {_TEST_ALIKE}"
            )
        return statistics

    def is_tested_alike(self, system: MeasuredSystem, metrics: Collection[str]) -> bool:
        """Return true if all points of a system were tested on the items of the base, with the same options.

        Args:
            system: System.
            metrics: Names of the metrics to check.
        """
        try:
            for point in (point for points in system.seeds for point in points):
                for metric in metrics:
                    self.align(point, metric)
        except ValueError:
            return False
        return True

    def _stack(self, points: Sequence[MeasuredPoint], metric: str) -> Array:
        return np.stack([self._values(point, metric) for point in points], axis=1)

    def _values(self, point: MeasuredPoint, metric: str) -> Array:
        statistics, reference = self.align(point, metric), self.metric_of(self.base, metric)
        totals = self._draw(reference) @ statistics
        values = np.asarray(value(reference.formula, totals, len(statistics)), dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError(
                f"{point.folder}: {visible(metric)} has no value in {np.count_nonzero(~np.isfinite(values))} of "
                f"{len(values)} resamples of its {len(statistics)} items; name another metric, or test on more items"
            )
        return values

    def _draw(self, measured: MeasuredMetric) -> Array:
        """Counts per item, ``(draws + 1, items)``; those of index 0 are 1."""
        key = _, items = measured.items, len(measured.ids)
        if key not in self._counts:
            rng = np.random.default_rng([SEED, zlib.crc32(measured.items.encode())])
            drawn = rng.multinomial(items, np.full(items, 1 / items), self.draws)
            self._counts[key] = np.concatenate([np.ones((1, items)), drawn]).astype(np.float64)
        return self._counts[key]
