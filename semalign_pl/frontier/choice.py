"""Best variant of each swept system, by the hypervolumes of the variants' curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from semalign_pl.frontier.compared_metrics import choose_metrics
from semalign_pl.frontier.entry import PointsEntry, VariantEntry, VolumeEntry
from semalign_pl.frontier.measured_study import MeasuredSystem, read_study
from semalign_pl.frontier.resampled import DRAWS, Resampled
from semalign_pl.functional.frontier import Curve, hypervolume
from semalign_pl.functional.significance import estimate

Curves = Mapping[str, Mapping[str, Curve]]
"""Curve by name of the variant and metric of the cost."""


class ChoiceEntry(TypedDict):
    """Choice among variants on other data than the test's.

    Attributes:
        quality: Name of the quality metric.
        costs: Names of the cost metrics; the first one chooses.
        chosen: Name of the best variant by system.
        sweeps: Variants by system, with points and hypervolumes on that data.
    """

    quality: str
    costs: list[str]
    chosen: dict[str, str]
    sweeps: dict[str, dict[str, VariantEntry]]


def choose(
    folder: Path,
    variants: Mapping[str, Sequence[str]],
    starts: Mapping[str, str],
    quality: str | None,
    costs: Sequence[str],
    scale_from: str,
    seeds: Sequence[int],
    trained: Path,
    draws: int = DRAWS,
) -> ChoiceEntry:
    """Choose the variant with the largest hypervolume of the first cost, for each swept system.

    Args:
        folder: Folder with the tests, ``seed-N/NAME`` and ``seed-N/NAME/points/POINT``.
        variants: Folder names of the variants by system.
        starts: System whose adapter the training started from, or ``base``, by folder name.
        quality: Metric of the new language; ``None`` for chrF.
        costs: Metrics of general ability; empty for CMRC F1 and NLL change, as far as they were measured.
        scale_from: Adapter at scale 0: ``base``, ``start`` or a folder.
        seeds: Seeds of the choice.
        trained: Folder of the study, with the adapters.
        draws: Number of resamples.

    Raises:
        ValueError: If a file is missing or malformed, or variants were not tested alike.
    """
    names = [name for folders in variants.values() for name in folders]
    base, measured = read_study(folder, names, starts, scale_from, seeds=seeds, trained=trained)
    resampled = Resampled(base, draws)
    quality, costs = choose_metrics(quality, costs, base.metrics, base.folder)
    curves = curves_of(resampled, measured, quality, costs)
    volumes = volumes_of(curves, worst_points(curves, costs))
    return {
        "quality": quality,
        "costs": list(costs),
        "chosen": best_variants(variants, volumes, costs[0]),
        "sweeps": {
            system: {
                name: {**describe(measured[name], curves[name]), "hypervolumes": volumes[name]} for name in folders
            }
            for system, folders in variants.items()
        },
    }


def curves_of(
    resampled: Resampled, measured: Mapping[str, MeasuredSystem], quality: str, costs: Sequence[str]
) -> dict[str, dict[str, Curve]]:
    """Curve of each system in each cost."""
    curves: dict[str, dict[str, Curve]] = {}
    for name, system in measured.items():
        reached = resampled.values(system, quality)
        curves[name] = {metric: Curve(reached, resampled.cost(system, metric)) for metric in costs}
    return curves


def worst_points(curves: Curves, costs: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Reference point of the hypervolumes: the lowest quality and the highest cost that any system has anywhere."""
    every = {metric: [of_system[metric] for of_system in curves.values()] for metric in costs}
    return {
        metric: (float(min(c.quality[0].min() for c in each)), float(max(c.cost[0].max() for c in each)))
        for metric, each in every.items()
    }


def volumes_of(curves: Curves, worst: Mapping[str, tuple[float, float]]) -> dict[str, dict[str, VolumeEntry]]:
    """Hypervolume of each system in each cost."""
    return {name: {m: _volume(curve, *worst[m]) for m, curve in each.items()} for name, each in curves.items()}


def best_variants(
    variants: Mapping[str, Sequence[str]], volumes: Mapping[str, Mapping[str, VolumeEntry]], cost: str
) -> dict[str, str]:
    """Variant with the largest hypervolume of a cost, by system."""
    return {system: max(folders, key=lambda name: volumes[name][cost]["value"]) for system, folders in variants.items()}


def describe(system: MeasuredSystem, curves: Mapping[str, Curve]) -> PointsEntry:
    """Points of a system with their measured quality and costs, per point and seed."""
    some = next(iter(curves.values()))
    return {
        "points": list(system.points),
        "quality": some.quality[0].T.tolist(),
        "costs": {metric: curve.cost[0].T.tolist() for metric, curve in curves.items()},
        "reach": list(some.reach()),
    }


def _volume(curve: Curve, worst_quality: float, worst_cost: float) -> VolumeEntry:
    found = estimate(hypervolume(curve.quality, curve.cost, worst_quality, worst_cost))
    return {"value": found.value, "ci": list(found.ci)}
