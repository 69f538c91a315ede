"""Run a study seed by seed, and keep what each seed measured in a small file; see seed_file.py."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import harness
import numpy as np
from seed_file import Seed, SeedError, digest_of, pack_points, read_seeds, write_seed
from study_points import budget, has_value, loss, points, value

from semalign_pl import __version__
from semalign_pl.frontier.choice import best_variants, volumes_of, worst_points
from semalign_pl.frontier.measured_point import read_point
from semalign_pl.frontier.measured_study import read_study as read_measured
from semalign_pl.frontier.seen import read_rewards
from semalign_pl.functional.frontier import Curve
from semalign_pl.messages.page import format_seconds
from semalign_pl.run.digests import Digests
from semalign_pl.study.frontier import keep_chosen
from semalign_pl.study.progress import time_left
from semalign_pl.study.protocol import VALIDATION, Step, choosing_steps, steps
from semalign_pl.study.run_step import run_step
from semalign_pl.study.systems import BASE, Study, group

Extra = Callable[[Seed], str]
"""Function from seed 0, whose variants are chosen, to one more variant to test."""


@dataclass(frozen=True)
class Plan:
    """Study to measure seed by seed.

    Attributes:
        study: Study whose variants are chosen on other data, by seed 0.
        configs: Folder of its configs.
        out: Folder for adapters and tests of this session.
        kept: Folder for the files of the seeds.
        shown: Metrics whose values are kept, besides those of the frontier.
        extra: Function that names one more variant to test; ``None`` for no more.
        optional: Metrics whose values are kept where there are any: shares of styles need a sentence that shows them.
        items: Metrics whose item statistics are kept, besides those of the frontier.
    """

    study: Study
    configs: Path
    out: Path
    kept: Path
    shown: Sequence[str]
    extra: Extra | None = None
    optional: Sequence[str] = ()
    items: Sequence[str] = ()

    @property
    def compared(self) -> list[str]:
        """Metrics whose item statistics are kept."""
        assert self.study.frontier is not None and self.study.frontier.quality is not None
        return [self.study.frontier.quality, *self.study.frontier.costs, *self.items]


def measure_seeds(plan: Plan, seeds: Sequence[int]) -> dict[int, Seed]:
    """Measure the seeds that are not kept yet; what a seed measured before it was interrupted is kept too.

    Args:
        plan: Study to measure.
        seeds: Seeds to measure; 0 is first, because it chooses.

    Returns:
        All seeds that were ever measured to the end.

    Raises:
        SeedError: If a kept seed is of another study, or seed 0 has not chosen yet; with the remedy.
    """
    frontier = plan.study.frontier
    if frontier is None or frontier.choose_on is None or frontier.choose_seeds != 1 or frontier.quality is None:
        raise SeedError(f"{plan.configs / 'study.yaml'}: frontier must set quality, choose_on, and choose_seeds: 1")
    digests = Digests(plan.out / "digests.json")
    plan.out.mkdir(parents=True, exist_ok=True)
    expected = digest_of(plan.study, plan.configs, digests)
    kept = read_seeds(plan.kept, expected)
    for seed in sorted(seeds):
        facts = {"seed": seed, "digest": expected, "version": __version__}
        content = kept.setdefault(seed, {**facts, "machines": [], "validation": {}, "runs": {}})
        if content.get("complete"):
            print(f"seed {seed}: kept in {plan.kept}", flush=True)
            continue
        if (machine := harness.machine()) not in content["machines"]:
            content["machines"].append(machine)
        if seed == 0 and "choice" not in content:
            measure_steps(plan, content, steps_of_choice(plan), "validation", digests)
            content["choice"] = choose(plan, content["validation"])
            write_seed(plan.kept, content)
        if "choice" not in kept.get(0, {}):
            raise SeedError(f"{plan.kept}: seed 0 has not chosen the variants yet; run it first (--only-seeds 0)")
        measure_steps(plan, content, steps_of_seed(plan, kept[0], seed), "runs", digests)
        content["complete"] = True
        write_seed(plan.kept, content)
    return {seed: content for seed, content in kept.items() if content.get("complete")}


def pending(plan: Sequence[Step], measured: Callable[[Step], bool]) -> list[Step]:
    """Steps that are still to run: tests without kept results, and the trainings that they need.

    Args:
        plan: Steps in order.
        measured: Function that tells if the results of a test are kept.
    """
    needed: set[Path | None] = set()
    left: list[Step] = []
    for step in reversed(plan):
        if (step.folder / "adapter" in needed) if step.command == "fit" else not measured(step):
            needed.add(step.adapter)
            left.insert(0, step)
    return left


def choose(plan: Plan, validation: Mapping[str, Any]) -> dict[str, Any]:
    """Choose the variant with the largest hypervolume of the first cost, as ``semalign study`` does.

    Args:
        plan: Study.
        validation: Values of each variant's points on the data of the choice.

    Returns:
        Entry ``choice`` of a study's results, without intervals.
    """
    frontier = plan.study.frontier
    assert frontier is not None and frontier.quality is not None
    quality, costs = frontier.quality, frontier.costs
    base = validation[BASE]["points"]["end"]
    curves: dict[str, dict[str, Curve]] = {}
    for name, run in validation.items():
        if name != BASE:
            path = [run["points"].get(point, base) for point in run["path"]]
            reached = np.array([[[one[quality] for one in path]]])
            curves[name] = {m: Curve(reached, np.array([[[loss(base, one, m) for one in path]]])) for m in costs}
    volumes = volumes_of(curves, worst_points(curves, costs))
    sweeps = {key: [one.name for one in each] for key, each in group(plan.study.systems).items() if each[0].sweep}
    return {
        "quality": quality,
        "costs": list(costs),
        "chosen": best_variants(sweeps, volumes, costs[0]),
        "sweeps": {
            key: {
                name: {
                    "points": validation[name]["path"],
                    "quality": curves[name][costs[0]].quality[0, 0].tolist(),
                    "costs": {m: curves[name][m].cost[0, 0].tolist() for m in costs},
                    "hypervolumes": {m: volumes[name][m]["value"] for m in costs},
                }
                for name in names
            }
            for key, names in sweeps.items()
        },
    }


def steps_of_choice(plan: Plan) -> list[Step]:
    """Trainings and tests of all variants by seed 0, on the data of the choice."""
    return list(choosing_steps(plan.study, plan.out, 1))


def steps_of_seed(plan: Plan, first: Seed, seed: int) -> list[Step]:
    """Trainings and tests of the chosen variants by one seed, and the test of the base model."""
    systems = keep_chosen(plan.study.systems, first["choice"]["chosen"])
    extra = {plan.extra(first)} if plan.extra else set()
    names = {one.name for one in systems} | extra
    systems = [one for one in plan.study.systems if one.name in names]
    every = steps(replace(plan.study, systems=systems), plan.out, seed + 1)
    return [step for step in every if step.seed == seed or step.system == BASE]


def measure_steps(plan: Plan, content: Seed, every: Sequence[Step], key: str, digests: Digests) -> None:
    """Run steps, and keep the results of each test in the seed's file at once.

    Args:
        plan: Study.
        content: Content of the seed's file.
        every: Steps of the seed, in order.
        key: ``validation`` for the data of the choice, or ``runs`` for the test set.
        digests: Digests of files.
    """
    kept, seconds = content[key], dict[str, list[float]]()
    # The base model's test is of this session: others are compared with its items.
    todo = pending(every, lambda step: step.system in kept and step.system != BASE)
    for number, step in enumerate(todo, 1):
        print(f"[seed {content['seed']}, {number}/{len(todo)}] semalign {shlex.join(step.args)}", flush=True)
        outcome = run_step(step, digests)
        seconds.setdefault(step.name, []).append(outcome.seconds)
        if step.command != "fit":
            kept[step.system] = {"seconds": outcome.seconds, **results_of(plan, content, step, key)}
            write_seed(plan.kept, content)
        if (left := time_left([one.name for one in todo[number:]], seconds)) is not None:
            print(f"  about {format_seconds(left)} left", flush=True)


def results_of(plan: Plan, content: Seed, step: Step, key: str) -> dict[str, Any]:
    """Results of a test to keep.

    Args:
        plan: Study.
        content: Content of the seed's file, which gets the ids of the items.
        step: Test that was run.
        key: ``validation`` for the data of the choice, or ``runs`` for the test set.

    Returns:
        Values of each point, the path through them, rewards and budget; on the test set the item statistics, too.
    """
    metrics = list(dict.fromkeys((*plan.compared, *plan.shown)))
    folders = points(step.folder)
    values = {name: {m: value(folder, m) for m in metrics} for name, folder in folders.items()}
    for name, folder in folders.items():
        values[name] |= {m: value(folder, m) for m in plan.optional if has_value(folder, m)}
    on_test_set = key != "validation"
    if step.system == BASE and not on_test_set:
        return {"points": values}
    if step.system == BASE:
        base = read_point(step.folder, plan.compared)
        content["ids"] = {m: list(base.metrics[m].ids) for m in plan.compared}
        return {"points": values, "items": pack_points([base], plan.compared, base)}
    assert plan.study.frontier is not None
    root = plan.out if on_test_set else plan.out / VALIDATION
    start = {one.name: one.start for one in plan.study.systems}
    scale_from = plan.study.frontier.scale_from
    base, of_run = read_measured(root, [step.system], start, scale_from, plan.compared, [step.seed], trained=plan.out)
    path, (own,) = of_run[step.system].points, of_run[step.system].seeds
    if other := set(path) - {*values, BASE}:
        raise SeedError(f"{step.folder}: its curve has the point {min(other)}, and only those of its own are kept")
    run = plan.out / f"seed-{step.seed}" / step.system
    result = {"path": list(path), "points": values, "rewards": read_rewards(run), "budget": budget(run)}
    tested = [point for name, point in zip(path, own, strict=True) if name != BASE]
    return result | ({"items": pack_points(tested, plan.compared, base)} if on_test_set else {})
