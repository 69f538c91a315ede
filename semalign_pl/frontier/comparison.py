"""The ``frontier`` entry of a study's ``results.json``: curves, verdicts, hypervolumes and the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from semalign_pl.frontier.choice import best_variants, curves_of, describe, volumes_of, worst_points
from semalign_pl.frontier.compared_metrics import choose_metrics
from semalign_pl.frontier.entry import BandEntry, FrontierEntry
from semalign_pl.frontier.ledger import make_ledger, right_or_wrong
from semalign_pl.frontier.measured_point import MeasuredPoint
from semalign_pl.frontier.measured_study import MeasuredSystem, read_study
from semalign_pl.frontier.resampled import DRAWS, Resampled
from semalign_pl.frontier.seen import read_rewards, rewards_of, seen_by
from semalign_pl.frontier.verdicts import Verdict, compare_pair, correct
from semalign_pl.functional.cost import less_is_better
from semalign_pl.functional.frontier import Curve, cost_band
from semalign_pl.messages.terminal import visible

BAND_POINTS = 25


@dataclass(frozen=True)
class Settings:
    """Settings of a comparison, the ``frontier`` key of ``study.yaml``.

    Attributes:
        quality: Metric of the new language; ``None`` for chrF, which is refused if a reward saw it.
        costs: Metrics of general ability; empty for CMRC F1 and NLL change, as far as they were measured.
        at: Qualities to compare at; empty for one per pair, near the upper end of what both reach.
        pairs: Pairs of systems to compare; empty for all.
        scale_from: Adapter at scale 0: ``base``, ``start`` or a folder.
        draws: Number of resamples.
    """

    quality: str | None = None
    costs: tuple[str, ...] = ()
    at: tuple[float, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    scale_from: str = "base"
    draws: int = DRAWS


def compare_study(
    folder: Path,
    variants: Mapping[str, Sequence[str]],
    starts: Mapping[str, str],
    settings: Settings | None = None,
    seeds: Sequence[int] | None = None,
) -> FrontierEntry:
    """Compare the systems of a study at equal quality.

    Args:
        folder: Folder of the study, with ``seed-N/NAME`` and ``seed-N/NAME/points/POINT``.
        variants: Folder names by system: the system's own name, or one per variant of its sweep. The variant with the
            largest hypervolume of the first cost becomes the system's curve; the sweep is reported whole.
        starts: System whose adapter the training started from, or ``base``, by folder name.
        settings: Settings of the comparison.
        seeds: Seeds to compare; ``None`` for all in the folder.

    Returns:
        ``frontier`` entry of ``results.json``, with ``ledger``.

    Raises:
        ValueError: If a file is missing or malformed, or systems were not tested alike; one line that names the files.
    """
    settings = settings or Settings()
    if not variants:
        raise ValueError(
            f"{visible(folder)}: no system was tested at several points, and one point is no curve; list scales under "
            "frontier in study.yaml, or keep steps with the callback KeepSteps"
        )
    names = [name for folders in variants.values() for name in folders]
    first = min(folder.glob("seed-*"), default=folder)
    own = {name: read_rewards(first / name) for name in {*names, *starts.values()}}
    base, measured = read_study(folder, names, starts, settings.scale_from, seeds=seeds)
    return compare(base, measured, variants, rewards_of(names, starts, own), settings)


def compare(
    base: MeasuredPoint,
    measured: Mapping[str, MeasuredSystem],
    variants: Mapping[str, Sequence[str]],
    rewards: Mapping[str, Sequence[str]],
    settings: Settings,
) -> FrontierEntry:
    """Compare measured systems, as `compare_study` does after it has read them.

    Args:
        base: Base model.
        measured: Points by folder name.
        variants: Folder names by system.
        rewards: Reward signatures by folder name.
        settings: Settings of the comparison.

    Returns:
        ``frontier`` entry of ``results.json``.

    Raises:
        ValueError: If a metric was not measured from items, a reward scored by the default quality, or systems were not
            tested alike.
    """
    resampled = Resampled(base, settings.draws)
    quality, costs = choose_metrics(settings.quality, settings.costs, base.metrics, base.folder)
    # A system of another task may be in the study, unless it is to be compared or its best variant to be chosen.
    wanted = {name for pair in settings.pairs or combinations(variants, 2) for name in pair}
    variants = {
        system: folders
        for system, folders in variants.items()
        if system in wanted or len(folders) > 1 or resampled.is_tested_alike(measured[folders[0]], (quality, *costs))
    }
    measured = {name: measured[name] for folders in variants.values() for name in folders}
    quality_seen = _check_quality(resampled, quality, rewards, named=settings.quality is not None)
    directions = {metric: less_is_better(metric) for metric in costs}
    curves = curves_of(resampled, measured, quality, costs)
    worst = worst_points(curves, costs)
    volumes = volumes_of(curves, worst)
    chosen = best_variants(variants, volumes, costs[0])
    items = {metric: (resampled.metric_of(base, metric).items, resampled.number_of_items(metric)) for metric in costs}
    verdicts: list[Verdict] = []
    for a, b in settings.pairs or tuple(combinations(variants, 2)):
        both = {metric: (curves[chosen[a]][metric], curves[chosen[b]][metric]) for metric in costs}
        verdicts += compare_pair((a, b), both, items, directions, settings.at)
    finished = {system: measured[name] for system, name in chosen.items()}
    return {
        "quality": quality,
        "quality_seen_by": quality_seen,
        "costs": list(costs),
        "seen_by_rewards": {system: list(rewards.get(name, ())) for system, name in chosen.items()},
        "curves": {
            system: {"variant": name, **describe(measured[name], curves[name]), "bands": _bands(curves[name])}
            for system, name in chosen.items()
        },
        "verdicts": [verdict.as_dict() for verdict in correct(verdicts)],
        "hypervolumes": {system: volumes[name] for system, name in chosen.items()},
        "hypervolume_reference": {metric: list(worst[metric]) for metric in costs},
        "sweeps": {
            system: {
                name: {**describe(measured[name], curves[name]), "hypervolumes": volumes[name]} for name in folders
            }
            for system, folders in variants.items()
            if len(folders) > 1
        },
        "ledger": {
            metric: make_ledger(resampled, finished, metric, settings.pairs)
            for metric in right_or_wrong(resampled, finished.values())
        },
    }


def _check_quality(
    resampled: Resampled, quality: str, rewards: Mapping[str, Sequence[str]], *, named: bool
) -> dict[str, list[str]]:
    """Rewards that scored by the quality metric, by system; refused unless the user named the metric."""
    signature = resampled.metric_of(resampled.base, quality).signature
    seen = {name: by for name, each in rewards.items() if (by := seen_by(quality, signature, each))}
    if seen and not named:
        name, by = next(iter(seen.items()))
        raise ValueError(
            f"frontier.quality: {quality} is not independent, because the reward {visible(by[0])} of {visible(name)} "
            "scored by it; name a metric that no reward saw (or this one, and the verdict will say so)"
        )
    return seen


def _bands(curves: Mapping[str, Curve]) -> dict[str, list[BandEntry]]:
    """Costs with intervals at evenly spaced qualities that all seeds reach, by metric."""
    bands: dict[str, list[BandEntry]] = {}
    for metric, curve in curves.items():
        low, high = curve.reach()
        qualities = np.linspace(low, high, BAND_POINTS).tolist() if low < high else []
        bands[metric] = [
            {"quality": quality, "cost": cost.value, "ci": list(cost.ci)}
            for quality, cost in zip(qualities, cost_band(curve, qualities), strict=True)
            if cost is not None
        ]
    return bands
