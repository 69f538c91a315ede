"""Form of the ``frontier`` entry in a study's ``results.json``. Costs are numbers of which less is better."""

from __future__ import annotations

from typing import TypedDict


class VolumeEntry(TypedDict):
    """Hypervolume of a system in one cost: mean over seeds, and 95 % interval (low, high)."""

    value: float
    ci: list[float]


class BandEntry(TypedDict):
    """Cost of a system at a quality: mean over seeds, and 95 % interval (low, high)."""

    quality: float
    cost: float
    ci: list[float]


class PointsEntry(TypedDict):
    """Measured points of a system in the order of its curve.

    Attributes:
        points: Name per point: ``step-N``, ``end``, ``scale-S``, or the system that the path begins or ends with.
        quality: Quality per point and seed.
        costs: Cost per point and seed, by metric.
        reach: Lowest and highest quality that every seed reaches; the first is larger if there is none.
    """

    points: list[str]
    quality: list[list[float]]
    costs: dict[str, list[list[float]]]
    reach: list[float]


class CurveEntry(PointsEntry):
    """Curve of a system.

    Attributes:
        variant: Name of the folder that the curve is read from: the chosen variant of a sweep, or the system itself.
        bands: Costs at evenly spaced qualities, by metric.
    """

    variant: str
    bands: dict[str, list[BandEntry]]


class VariantEntry(PointsEntry):
    """One variant of a sweep, and its hypervolumes by metric."""

    hypervolumes: dict[str, VolumeEntry]


class VerdictEntry(TypedDict):
    """Comparison of two systems in one cost. A study adds the key ``sentence``, which report/verdict.py writes.

    Attributes:
        a: First system.
        b: Second system.
        metric: Name of the metric.
        less_is_better: True if the metric is itself a cost; else its cost is base minus system.
        quality: Quality to compare at; ``None`` for the mean over ``range``.
        range: Range of quality that is compared over; ``None`` without a common range.
        reach: ``reach`` of both systems.
        difference: Cost of ``a`` minus cost of ``b``: below 0, ``a`` costs less.
        ci: 95 % interval, not corrected.
        p: p-value, not corrected.
        p_holm: p-value after Holm's correction.
        seeds: Number of seeds.
        items: Number of items of the metric.
        item_set: Name of their set.
        outcome: ``a`` or ``b``, which costs less; ``not distinguishable``, or ``no common range``.
    """

    a: str
    b: str
    metric: str
    less_is_better: bool
    quality: float | None
    range: list[float] | None
    reach: list[list[float]]
    difference: float | None
    ci: list[float] | None
    p: float | None
    p_holm: float | None
    seeds: int
    items: int
    item_set: str
    outcome: str


class LostItem(TypedDict):
    """One question that a system answers worse than another.

    Attributes:
        id: Id of the item.
        drop: Drop of F1, mean over seeds.
        seed: Index of the seed with the largest drop, which the answers are of.
        answers: Answer by system.
        right: Number of seeds that are right, and number of seeds, by system.
    """

    id: str
    drop: float
    seed: int
    answers: dict[str, str | None]
    right: dict[str, list[int]]


class LedgerComparison(TypedDict):
    """Questions that a system lost and gained against another; `ledger.py` defines both.

    Attributes:
        system: System.
        against: Other system, or ``base``.
        seeds: Number of seeds.
        lost: Number of questions that are right for ``against`` and wrong for ``system``.
        gained: Number of questions that are wrong for ``against`` and right for ``system``.
        undecided: Number of questions at a tie: half of the seeds of one of the two systems have them right.
        lost_items: Their ids.
        gained_items: Their ids.
        p: Exact p-value of McNemar's test.
        p_holm: p-value after Holm's correction over all pairs.
        worst: Up to twenty questions, from the largest drop of F1 on.
    """

    system: str
    against: str
    seeds: int
    lost: int
    gained: int
    undecided: int
    lost_items: list[str]
    gained_items: list[str]
    p: float
    p_holm: float
    worst: list[LostItem]


class LedgerEntry(TypedDict):
    """Ledger of one right-or-wrong metric: name of its item set, number of items, and comparisons."""

    item_set: str
    items: int
    comparisons: list[LedgerComparison]


class FrontierEntry(TypedDict):
    """``frontier`` entry of a study's ``results.json``.

    Attributes:
        quality: Name of the quality metric.
        quality_seen_by: Signatures of the rewards that scored by it, by system; empty if none did.
        costs: Names of the cost metrics.
        seen_by_rewards: Signatures of the rewards that each system was trained with, those of its starts included.
        curves: Curve by system.
        verdicts: Comparisons of pairs.
        hypervolumes: Hypervolume by system and metric.
        hypervolume_reference: Reference point (quality, cost) by metric.
        sweeps: Variants by system, for systems with more than one.
        ledger: Ledger by right-or-wrong metric.
    """

    quality: str
    quality_seen_by: dict[str, list[str]]
    costs: list[str]
    seen_by_rewards: dict[str, list[str]]
    curves: dict[str, CurveEntry]
    verdicts: list[VerdictEntry]
    hypervolumes: dict[str, dict[str, VolumeEntry]]
    hypervolume_reference: dict[str, list[float]]
    sweeps: dict[str, dict[str, VariantEntry]]
    ledger: dict[str, LedgerEntry]
