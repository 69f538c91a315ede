"""Loss of general ability of one tested point against another, with an upper confidence bound over paired items."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from semalign_pl.files.documents import read_json
from semalign_pl.frontier.measured_point import MeasuredMetric, read_point
from semalign_pl.functional.bootstrap import resample_sums
from semalign_pl.functional.cost import loss_of
from semalign_pl.functional.formulas import value
from semalign_pl.messages.terminal import visible

DRAWS = 2000
SEED = 12345


class _Metric(TypedDict):
    """Entry of ``metrics`` in ``results.json``; see `MetricResult`."""

    value: float
    items: str | None
    formula: str | None


@dataclass(frozen=True)
class Loss:
    """Loss of one metric, in its unit; above 0 if the tested point is worse.

    Attributes:
        value: Loss as measured.
        bound: Upper confidence bound of the loss.
        items: Number of items that both points were tested on.
    """

    value: float
    bound: float
    items: int


class PointResult:
    """Result of the test of one point, read from its folder.

    Args:
        folder: Folder with ``results.json`` and ``items.jsonl``.

    Attributes:
        metrics: Entries of ``metrics`` in ``results.json``, by name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        results = read_json(folder / "results.json", "test the point again")
        self.metrics: Mapping[str, _Metric] = results["metrics"]


def check_metrics(base: PointResult, metrics: Sequence[str], flag: str) -> None:
    """Refuse metrics that a test does not measure, or whose value is not computed from items.

    Args:
        base: Any tested point.
        metrics: Names of the metrics.
        flag: Flag that names them, for the message.

    Raises:
        ValueError: If a metric is not measured, or not computed from items; names those that can be used.
    """
    fit = sorted(name for name, metric in base.metrics.items() if metric.get("items") and metric.get("formula"))
    for name in metrics:
        if name in fit:
            continue
        if name in base.metrics:
            raise ValueError(
                f"{flag}: {name} is no sum over items, so its loss has no bound; name one of {', '.join(fit)}"
            )
        close = difflib.get_close_matches(name, fit, n=1)
        hint = f"did you mean {close[0]}?" if close else f"there is {', '.join(fit)}."
        raise ValueError(
            f"{flag}: nothing in the recipe measures {name!r}; {hint} Otherwise list a probe for it under "
            "trainer.callbacks"
        )


def losses(base: PointResult, point: PointResult, metrics: Sequence[str], confidence: float) -> dict[str, Loss]:
    """Loss of each metric at a point, with its upper confidence bound.

    The bound is the percentile of a bootstrap over items (Efron, 1979), in which both points get the same draws, so
    that only items that the two treat differently add to the width.

    Args:
        base: Point that the loss is against.
        point: Point to compare.
        metrics: Names of the metrics.
        confidence: One-sided confidence of the bound, e.g. 0.95.

    Raises:
        ValueError: If the two were tested on different items, an item has no finite statistics, or a resample no value.
    """
    pair = [read_point(tested.folder, metrics).metrics for tested in (point, base)]
    found = {}
    for name in metrics:
        ids, reference = (sorted(metrics_of[name].ids) for metrics_of in pair)
        if ids != reference:
            raise ValueError(
                f"{point.folder}/items.jsonl: {name} was measured on other items than in {base.folder}; delete both "
                "folders, and run the command again"
            )
        formula, n = pair[1][name].formula, len(ids)
        measured, resampled = [], []
        for tested, metrics_of in zip((point, base), pair, strict=True):
            statistics = _sort_by_id(metrics_of[name])
            measured.append(float(value(formula, statistics.sum(0).numpy(), n)))
            values = value(formula, resample_sums(statistics, DRAWS, SEED).numpy(), n)
            if missing := np.count_nonzero(~np.isfinite(values)):
                raise ValueError(
                    f"{tested.folder}: {visible(name)} has no value in {missing} of {len(values)} resamples of its {n} "
                    "items; name another metric, or test on more items"
                )
            resampled.append(values)
        bound = np.quantile(loss_of(name, resampled[0], resampled[1]), confidence)
        found[name] = Loss(loss_of(name, measured[0], measured[1]), float(bound), n)
    return found


def _sort_by_id(measured: MeasuredMetric) -> Tensor:
    """Sufficient statistics of the items, ``(items, statistics)`` float64, in the order of their ids."""
    order = sorted(range(len(measured.ids)), key=measured.ids.__getitem__)
    return torch.from_numpy(measured.statistics[order])
