"""Frontiers of a study: test the points of each run, choose variants, and compare the systems at equal quality."""

from __future__ import annotations

import gc
import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semalign_pl.messages.terminal import visible
from semalign_pl.study.frontier_settings import FrontierSettings
from semalign_pl.study.joined import Points, RunResults
from semalign_pl.study.protocol import VALIDATION, Step, flags_of_the_test
from semalign_pl.study.systems import Study, System, group

if TYPE_CHECKING:
    from semalign_pl.frontier.choice import ChoiceEntry
    from semalign_pl.frontier.entry import FrontierEntry


def measure_points(step: Step) -> tuple[Points, float]:
    """Test all points of a run that are not tested yet, and remove points that are not wanted any more.

    Args:
        step: Command ``frontier`` of a study.

    Returns:
        Results of the points in the order of the curve, and the seconds that their tests took, now or earlier.
    """
    from semalign_pl.frontier.measure import measure

    assert step.adapter is not None
    points: dict[str, RunResults] = {}
    total = 0.0
    for one in measure(step.adapter, step.recipe_args, step.folder, step.scales, step.scale_from):
        done = "done before" if one.reason is None else f"{one.reason}; tested"
        print(visible(f"  {one.point.name}: {done} in {one.seconds:.0f} s"), flush=True)
        points[one.point.name] = {"metrics": one.results["metrics"], "run": one.results["run"]}
        total += one.seconds
    gc.collect()  # the models of this system, before the next ones are loaded
    remove_others(step.folder / "points", points)
    return points, total


def remove_others(folder: Path, wanted: Collection[str]) -> None:
    """Remove results of points that ``study.yaml`` does not list any more, which would be on the curve otherwise.

    Args:
        folder: Folder of the results of points.
        wanted: Names of the points to keep.
    """
    for other in sorted(path for path in folder.glob("*") if path.is_dir() and path.name not in wanted):
        shutil.rmtree(other)
        print(visible(f"  {other.name}: is no point of this study any more; {other} was removed"), flush=True)


def check_metrics(settings: FrontierSettings, base: RunResults, configs: Path) -> None:
    """Refuse metrics that cannot be compared, before anything is trained.

    Args:
        settings: Settings of the frontier.
        base: Results of the base model's test.
        configs: Folder of the configs, for messages.

    Raises:
        ValueError: If a metric is not measured per item (names those that can be compared), or as `choose_metrics`.
    """
    from semalign_pl.frontier.compared_metrics import QUALITY, choose_metrics

    usable = [name for name, metric in base["metrics"].items() if metric.get("items")]
    for key, names in (("quality", [settings.quality or QUALITY]), ("costs", settings.costs)):
        for name in names:
            if name not in usable:
                raise ValueError(
                    f"{configs / 'study.yaml'}: frontier.{key}: the base model's test has no items of {visible(name)}; "
                    f"name one of {', '.join(usable) or 'none'}, or add the callback that measures it to the first "
                    "system's recipe"
                )
    choose_metrics(settings.quality, settings.costs, usable, f"{configs / 'study.yaml'}: the base model's test")


def check_other_data(systems: Sequence[System], overlay: Path, where: str) -> None:
    """Refuse to choose variants on the rows or questions of the test, before anything is trained.

    Args:
        systems: Systems of the study; the base model is tested with the settings of the first.
        overlay: Config laid over their recipes for the choice.
        where: File and key to name in messages.

    Raises:
        ValueError: If the test corpus, or the file or task of a probe, is the one of the recipe.
    """
    from semalign_pl.study.grounds import parse

    chosen = [one for one in systems if one.sweep]
    for config, flags in dict.fromkeys((one.config, flags_of_the_test(one.flags)) for one in (systems[0], *chosen)):
        recipe = ("test", "--config", str(config))  # flags are after the overlay, and so may undo it
        laid_over = ("--config", str(overlay))
        of_test, of_choice = (_test_data(parse((*recipe, *more, *flags))) for more in ((), laid_over))
        for key, value in of_choice:
            if (key, value) in of_test:
                raise ValueError(
                    f"{where}: {overlay} has the same {key} as {config}, {visible(value)}; give other rows and other "
                    "files and tasks of the probes, so that the test set chooses nothing"
                )


def _test_data(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Test corpus, and files and harness tasks of the probes, each with its key, without places in lists."""
    from semalign_pl.run.named_files import flatten

    corpus = settings["data"]["init_args"].get("test")
    named = [("data.init_args.test", json.dumps(corpus, default=str, ensure_ascii=False))] if corpus else []
    callbacks = flatten(settings["trainer"].get("callbacks"))
    ends = (".init_args.file", ".init_args.task")  # the task of a TranslationProbe is a mapping, so its key goes on
    of_probes = [(key.rpartition(".")[2], value) for key, value in callbacks if key.endswith(ends)]
    return [*named, *((f"{key} of a probe", str(value)) for key, value in of_probes if value is not None)]


def choose(study: Study, out: Path, seeds: int) -> ChoiceEntry:
    """Choose the best variant of each swept system by the tests in ``out/validation``.

    Args:
        study: Study with ``choose_on`` in its settings of the frontier.
        out: Folder of the study.
        seeds: Number of seeds that were tested there.

    Raises:
        ValueError: If variants were not tested alike; names the files.
    """
    from semalign_pl.frontier.choice import choose as choose_variants

    settings = study.frontier
    assert settings is not None
    groups = group(study.systems)
    return choose_variants(
        out / VALIDATION,
        {key: [one.name for one in systems] for key, systems in groups.items() if systems[0].sweep},
        {one.name: one.start for one in study.systems},
        settings.quality,
        settings.costs,
        settings.scale_from,
        range(seeds),
        out,
    )


def keep_chosen(systems: Sequence[System], chosen: Mapping[str, str]) -> list[System]:
    """Systems of a study without the variants that were not chosen.

    Args:
        systems: Systems of the study. A variant that another system starts from is kept.
        chosen: Best variant by swept system.
    """
    kept: list[System] = []
    for one in reversed(systems):  # each system is listed after the one that it starts from
        if one.sweep is None or chosen[one.sweep] == one.name or one.name in {other.start for other in kept}:
            kept.insert(0, one)
    return kept


def compare(
    study: Study, out: Path, results: Mapping[tuple[int, str], Points], chosen: Mapping[str, str]
) -> tuple[FrontierEntry, dict[str, str]]:
    """Compare the systems of a study at equal quality.

    Args:
        study: Study with settings of the frontier.
        out: Folder of the study.
        results: Results of each run, by seed and system.
        chosen: Best variant by swept system, if it was chosen on other data; else empty.

    Returns:
        ``frontier`` entry of the study's ``results.json``, and the best variant by system. Unless it was chosen before,
        the best variant is the one with the largest hypervolume of the first cost, for every system alike. A system
        without a curve has a single variant.

    Raises:
        ValueError: If systems were not tested alike; names the files.
    """
    from semalign_pl.frontier.comparison import Settings, compare_study

    settings = study.frontier
    assert settings is not None
    compared = {key for pair in settings.compare for key in pair}
    variants = {
        key: [chosen[key]] if key in chosen else [one.name for one in systems]
        for key, systems in group(study.systems).items()
        if key in compared or systems[0].sweep or len(results[0, systems[0].name]) > 1  # one point is no curve
    }
    frontier = compare_study(
        out,
        variants,
        {one.name: one.start for one in study.systems},
        Settings(settings.quality, settings.costs, settings.at, settings.compare, settings.scale_from),
        seeds=sorted({seed for seed, _ in results}),
    )
    for key in (key for key in variants if key not in frontier["curves"]):
        print(visible(f"{key}: has no curve; it was tested on other items than the base, and no pair compares it"))
    first = {key: names[0] for key, names in variants.items()}
    return frontier, first | {key: curve["variant"] for key, curve in frontier["curves"].items()}
