"""The key ``frontier`` of ``study.yaml``: points to test of each system, and comparisons at equal quality."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class FrontierSettings:
    """Points of each system of a study, and what is compared.

    Attributes:
        quality: Metric of the new language at which systems are compared; ``None`` for the default of a comparison.
        costs: Metrics of general ability; the first one chooses the best variant of a swept system. Empty for the
            default of a comparison.
        scales: Factors of the adapter's update, each a point between the start of the scale and the finished adapter.
        scale_from: Start of the scale: ``base``, or ``start`` for the adapter that the training started from.
        compare: Pairs of systems.
        at: Qualities at which costs are compared, besides the mean over the common range; empty for one that both
            systems of a pair reach.
        choose_on: Config laid over each recipe to choose the best variant of a swept system: other rows and other
            questions than those of the test. ``None`` to choose on the test itself, which flatters swept systems.
        choose_seeds: Number of seeds of that choice; further seeds train and test the chosen variants only. ``None``
            for all seeds.
    """

    quality: str | None = None
    costs: tuple[str, ...] = ()
    scales: tuple[float, ...] = (0.25, 0.5, 0.75)
    scale_from: str = "base"
    compare: tuple[tuple[str, str], ...] = ()
    at: tuple[float, ...] = ()
    choose_on: Path | None = None
    choose_seeds: int | None = None


KEYS = tuple(field.name for field in fields(FrontierSettings))


def read_frontier_settings(
    entry: object, starts: Mapping[str, str], where: str, folder: Path = Path()
) -> FrontierSettings:
    """Check the value of ``frontier:`` and fill in defaults.

    Args:
        entry: Value of the key; ``None`` for all defaults.
        starts: System or ``base`` that each system starts from, by system. By default, all pairs of the finished
            systems are compared: of those that no other starts from, or of all if fewer than two remain.
        where: File and key to name in messages.
        folder: Folder that the path of ``choose_on`` is relative to.

    Raises:
        ValueError: If a key is unknown or a value is malformed; the message names the key and the remedy.
    """
    entry = {} if entry is None else entry
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: {entry!r} is no mapping; write `frontier: {{quality: chrf, scales: [0.5]}}`")
    for key in entry:
        if key not in KEYS:
            raise ValueError(f"{where}.{key}: there is no such key; it has {', '.join(KEYS)}")
    default = FrontierSettings()
    quality = _names(entry["quality"], f"{where}.quality") if "quality" in entry else ()
    if len(quality) > 1:
        raise ValueError(f"{where}.quality: there are {len(quality)} metrics; name one, such as chrf")
    scale_from = entry.get("scale_from", default.scale_from)
    if scale_from not in ("base", "start"):
        raise ValueError(f"{where}.scale_from: {scale_from!r} is neither base nor start; write one of them")
    scales = _numbers(entry.get("scales", default.scales), f"{where}.scales")
    if wrong := [scale for scale in scales if not 0 <= scale < 1]:
        raise ValueError(f"{where}.scales: {wrong[0]:g} is not from 0 to below 1; 1 is the finished adapter itself")
    return FrontierSettings(
        quality=next(iter(quality), None),
        costs=_names(entry["costs"], f"{where}.costs") if "costs" in entry else (),
        scales=tuple(sorted(set(scales))),
        scale_from=scale_from,
        compare=_pairs(entry.get("compare"), starts, f"{where}.compare"),
        at=tuple(dict.fromkeys(_numbers(entry.get("at", default.at), f"{where}.at"))),
        choose_on=_config(entry.get("choose_on"), folder, f"{where}.choose_on"),
        choose_seeds=_seeds(entry.get("choose_seeds"), entry, f"{where}.choose_seeds"),
    )


def _config(value: object, folder: Path, where: str) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, str) or not (folder / value).is_file():
        raise ValueError(
            f"{where}: there is no config {value!r} in {folder}; write one with other test rows and probes, such as "
            "validation.yaml"
        )
    return folder / value


def _seeds(value: object, entry: Mapping[object, object], where: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{where}: {value!r} is not a positive number")
    if entry.get("choose_on") is None:
        raise ValueError(f"{where}: is the number of seeds of choose_on; name that config, or leave this out")
    return value


def _names(value: object, where: str) -> tuple[str, ...]:
    """Names of metrics; a single one may be written without a list."""
    names = _elements([value] if isinstance(value, str) else value, where, "metrics, such as [cmrc_f1]")
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"{where}: {name!r} is not the name of a metric, such as cmrc_f1")
    if not names:
        raise ValueError(f"{where}: is empty; name a metric, such as cmrc_f1")
    return tuple(dict.fromkeys(str(name) for name in names))


def _numbers(value: object, where: str) -> tuple[float, ...]:
    numbers = _elements(value, where, "numbers")
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError(f"{where}: {number!r} is not a number")
    return tuple(float(number) for number in numbers if isinstance(number, int | float))


def _pairs(value: object, starts: Mapping[str, str], where: str) -> tuple[tuple[str, str], ...]:
    if value is None:
        finished = [name for name in starts if name not in starts.values()]
        return tuple(itertools.combinations(finished if len(finished) > 1 else starts, 2))
    pairs: dict[frozenset[str], tuple[str, str]] = {}  # a pair listed twice is one comparison of Holm's correction
    for pair in _elements(value, where, "pairs of systems, such as [[strong_sft, semantic_grpo]]"):
        names = _elements(pair, where, "pairs of systems, such as [[strong_sft, semantic_grpo]]")
        if len(names) != 2 or names[0] == names[1]:
            raise ValueError(f"{where}: {pair!r} is no pair; write the names of two systems")
        if absent := [name for name in names if not isinstance(name, str) or name not in starts]:
            raise ValueError(f"{where}: there is no system {absent[0]!r}; name two of {', '.join(starts)}")
        one, other = map(str, names)
        pairs.setdefault(frozenset((one, other)), (one, other))
    return tuple(pairs.values())


def _elements(value: object, where: str, needed: str) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where}: {value!r} is no list; write a list of {needed}")
    return value
