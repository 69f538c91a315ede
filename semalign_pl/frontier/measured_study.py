"""Measured points of a study's systems, read from its folder, in the order of their curves."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from semalign_pl.files.documents import read_json
from semalign_pl.frontier.measured_point import MeasuredPoint, read_point
from semalign_pl.messages.terminal import visible
from semalign_pl.policy.adapter_folder import CONFIG
from semalign_pl.run.results import read_training

BASE, END = "base", "end"
_STEP, _SCALE = re.compile(r"step-(\d+)"), re.compile(r"scale-(\d*\.?\d+(?:e-\d+)?)")


@dataclass(frozen=True)
class MeasuredSystem:
    """Points of one system, of every seed.

    Attributes:
        points: Names of the points in the order of the curve: the start system, ``step-N`` ascending, ``end``,
            ``scale-S`` descending, then the adapter that the scales lead to, such as ``base``.
        seeds: Points per seed, in the same order.
    """

    points: tuple[str, ...]
    seeds: tuple[tuple[MeasuredPoint, ...], ...]


def read_study(
    folder: Path,
    systems: Collection[str],
    starts: Mapping[str, str],
    scale_from: str,
    names: Collection[str] | None = None,
    seeds: Sequence[int] | None = None,
    trained: Path | None = None,
) -> tuple[MeasuredPoint, dict[str, MeasuredSystem]]:
    """Read the base model and the points of systems.

    Args:
        folder: Folder of the study, with ``seed-N/SYSTEM`` (the finished adapter) and ``seed-N/SYSTEM/points/NAME``.
        systems: Names of the systems, which are the names of their folders.
        starts: System whose adapter the training started from, or ``base``, by system.
        scale_from: Adapter at scale 0: ``base``, ``start`` or a folder.
        names: Metrics to read; ``None`` for all that have items and a value.
        seeds: Seeds to read; ``None`` for all in the folder.
        trained: Folder of the study with the adapters, if these are tests on other data; ``None`` for ``folder``.

    Returns:
        Base model, and points by system.

    Raises:
        ValueError: If a seed or a point lacks a file, a file is malformed, or a system has no point but its end.
    """
    numbers = _seeds(folder) if seeds is None else list(seeds)
    roots = [folder / f"seed-{seed}" for seed in numbers]
    read = cache(lambda place: read_point(place, names))
    base = _base(folder)
    adapters = {system: (trained or folder) / roots[0].name / system / "adapter" for system in systems}
    measured = {
        system: _read_system(system, starts.get(system, BASE), scale_from, roots, adapters[system], base, read)
        for system in systems
    }
    return read(base), measured


def curve_order(names: Collection[str]) -> list[str]:
    """Names of points in the order of the path through them: steps ascending, end, scales descending.

    Args:
        names: Names of points: ``step-N``, ``end`` and ``scale-S``.

    Raises:
        ValueError: If a name has another form.

    >>> curve_order(["end", "scale-0.25", "step-100", "scale-0.5", "step-20"])
    ['step-20', 'step-100', 'end', 'scale-0.5', 'scale-0.25']
    """

    def place(name: str) -> tuple[int, float]:
        if step := _STEP.fullmatch(name):
            return 0, float(step[1])
        if scale := _SCALE.fullmatch(name):
            return 2, -float(scale[1])
        if name != END:
            raise ValueError(f"{visible(name)}: is no name of a point; points are end, step-N and scale-S")
        return 1, 0.0

    return sorted(names, key=place)


def _seeds(folder: Path) -> list[int]:
    names = [path.name[5:] for path in folder.glob("seed-*")]
    seeds = sorted(int(name) for name in names if name.isdecimal())
    if not seeds:
        raise ValueError(f"{visible(folder)}: holds no folder seed-N; give the folder of a study")
    return seeds


def _base(folder: Path) -> Path:
    for seed in _seeds(folder):  # a study tests the base model once, because it does not depend on the seed
        if (place := folder / f"seed-{seed}" / BASE).is_dir():
            return place
    raise ValueError(f"{visible(folder)}: holds no seed-N/{BASE}, and costs are against the base model; test it")


def _read_system(
    system: str,
    start: str,
    scale_from: str,
    roots: Sequence[Path],
    adapter: Path,
    base: Path,
    read: Callable[[Path], MeasuredPoint],
) -> MeasuredSystem:
    found = {root: {path.name for path in (root / system / "points").glob("*") if path.is_dir()} for root in roots}
    every = set[str]().union(*found.values())
    for root, names in found.items():
        if missing := sorted(every - names):
            other = next(other for other in roots if missing[0] in found[other])
            raise ValueError(
                f"{visible(root / system / 'points')}: lacks the point {visible(missing[0])}, which {other.name} has; "
                "test every seed at the same points"
            )
    if not every:
        raise ValueError(
            f"{visible(roots[0] / system)}: has no points/, and one point is no curve; test it at steps or scales "
            "(semalign frontier, or the key frontier of study.yaml)"
        )
    names = curve_order({*every, END})
    before, after = _neighbours(names, start, scale_from, adapter)  # of the first seed: all seeds have one recipe

    def folder_of(root: Path, name: str) -> Path:
        if name in (before, after):
            return base if name == BASE else root / name
        return root / system if name == END else root / system / "points" / name

    path = tuple(name for name in (before, *names, after) if name is not None)
    return MeasuredSystem(path, tuple(tuple(read(folder_of(root, name)) for name in path) for root in roots))


def _neighbours(names: Sequence[str], start: str, scale_from: str, adapter: Path) -> tuple[str | None, str | None]:
    """Systems that the path begins and ends with: the start before the first step, scale 0 after the last scale.

    Without steps the start is left out, because the line from it to the end would pass no measured point. So is a
    system that is no point of the path: the start if training scaled it, and the base if the adapter has new tokens,
    which split texts in another way even at scale 0.
    """
    steps = [name for name in names if _STEP.fullmatch(name)]
    scales = [float(scale[1]) for name in names if (scale := _SCALE.fullmatch(name))]
    absent = {start} if "started_from_scale" in (read_training(str(adapter)) or {}) else set[str]()
    absent |= {BASE} if _has_new_tokens(adapter) else set()
    before = start if steps and "step-0" not in steps else None
    after = {"base": BASE, "start": start}.get(scale_from) if scales and min(scales) > 0 else None
    return None if before in absent else before, None if after in absent else after


def _has_new_tokens(adapter: Path) -> bool:
    config = adapter / CONFIG
    content = read_json(config, "train the adapter again") if config.is_file() else None
    return isinstance(content, dict) and bool(content.get("trainable_token_indices"))
