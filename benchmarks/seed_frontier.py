"""Compare the systems of a study at equal quality, from the files of its seeds alone; see seed_file.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seed_file import Seed, SeedError, unpack_points

from semalign_pl.frontier.comparison import Settings, compare
from semalign_pl.frontier.measured_study import MeasuredSystem
from semalign_pl.frontier.seen import rewards_of
from semalign_pl.report.results import Results, parse
from semalign_pl.report.verdict import with_sentences
from semalign_pl.study.systems import BASE, Study, group


def compare_seeds(study: Study, seeds: Mapping[int, Seed], draws: int = 1000) -> tuple[dict[str, Any], Results]:
    """Compare the chosen variants of a study over seeds.

    Args:
        study: Study, for its pairs and the systems that each starts from.
        seeds: Content of the files by seed, 0 included.
        draws: Number of resamples.

    Returns:
        ``frontier`` entry of a study's ``results.json``, with sentences; and parsed results, for titles.

    Raises:
        SeedError: If seed 0 is not there, or the seeds were not tested alike.
    """
    if 0 not in seeds:
        raise SeedError("seed 0 is not measured to the end yet, and the table needs it; run it (--only-seeds 0)")
    settings, chosen = study.frontier, seeds[0]["choice"]["chosen"]
    assert settings is not None
    variants = {key: chosen.get(key, key) for key in group(study.systems)}
    starts = {one.name: one.start for one in study.systems}
    (base,) = measured_points(seeds[0], BASE)
    measured = {name: measured_system(seeds, name) for name in variants.values()}
    own = {name: run.get("rewards", []) for name, run in seeds[0]["runs"].items()}
    frontier = compare(
        base,
        measured,
        {key: [name] for key, name in variants.items()},
        rewards_of(list(variants.values()), starts, own),
        Settings(settings.quality, settings.costs, settings.at, settings.compare, settings.scale_from, draws),
    )
    labels = {one.key: one.label for one in study.systems}
    results = {"systems": {key: {"label": labels[key], "metrics": {}} for key in variants}, "frontier": frontier}
    return dict(with_sentences(results)["frontier"]), parse(results)


def measured_system(seeds: Mapping[int, Seed], name: str) -> MeasuredSystem:
    """Points of one system, of all seeds.

    Args:
        seeds: Content of the files by seed.
        name: Name of the system or variant.

    Raises:
        SeedError: If the seeds were not tested alike.
    """
    paths = {tuple(content["runs"][name]["path"]) for content in seeds.values()}
    if len(paths) > 1:
        raise SeedError(f"{name}: seeds were tested at other points: {' and '.join(map(', '.join, sorted(paths)))}")
    (path,) = paths
    return MeasuredSystem(path, tuple(_in_order(content, name, path) for content in seeds.values()))


def _in_order(content: Seed, name: str, path: tuple[str, ...]) -> tuple[Any, ...]:
    """Points of a run along its path; that of the base is the seed's own test of it."""
    own = iter(measured_points(content, name))
    (base,) = measured_points(content, BASE)
    return tuple(base if point == BASE else next(own) for point in path)


def measured_points(content: Seed, name: str) -> list[Any]:
    """Points of one run of one seed, but for the base model's.

    Args:
        content: Content of the seed's file.
        name: Name of the system or variant.
    """
    return unpack_points(content["runs"][name]["items"], content["ids"], f"seed {content['seed']}, {name}")
