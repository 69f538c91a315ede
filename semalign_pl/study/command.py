"""``semalign study``: train, test and compare every system of a study, and report."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from semalign_pl.files.atomic import write_text
from semalign_pl.files.json_text import to_json
from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line
from semalign_pl.messages.page import format_seconds
from semalign_pl.messages.terminal import visible
from semalign_pl.report.command import show
from semalign_pl.report.paper_tables import read_published
from semalign_pl.run.peak_memory import measure_peak
from semalign_pl.study.frontier import check_metrics, check_other_data, choose, compare, keep_chosen
from semalign_pl.study.joined import END, Points, join
from semalign_pl.study.judge_check import check_judge
from semalign_pl.study.judge_results import add_wins, read_judge_results
from semalign_pl.study.progress import time_left
from semalign_pl.study.protocol import Step, choosing_steps, steps
from semalign_pl.study.study_file import read_study
from semalign_pl.study.systems import BASE, Study, group


def run(args: Sequence[str]) -> int:
    """Run ``semalign study``.

    Args:
        args: Name of the command, then its flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = CommandParser(
        prog="semalign study",
        description="Train, test and compare every system of a study, and report. The same command goes on with a "
        "study that was interrupted.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config",
        type=Path,
        required=True,
        help="folder of configs, with a study.yaml if they are not the paper's three",
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for results; finished steps there are not redone"
    )
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds (default: %(default)s)")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="number of steps to run side by side, on a GPU each if there are several (default: %(default)s)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the commands of the study, and run none of them")
    with one_line() as status:
        options = parser.parse_args(list(args[1:]))
        if options.dry_run:
            print_commands(options.config, options.out, options.seeds)
        else:
            run_study(options.config, options.out, options.seeds, options.jobs)
            show(options.out)
    return status.code


def print_commands(configs: Path, out: Path, seeds: int) -> None:
    """Print the commands of a study in order, without running any.

    Those of variants that may not be chosen are printed as comments.

    Args:
        configs: Folder of the configs; see `read_study`.
        out: Folder of the study.
        seeds: Number of seeds.

    Raises:
        ValueError: As `run_study`, for what can be seen without torch before a step is run; judges need no key.
    """
    study = _read(configs, seeds, 1)
    choosing = _choosing_steps(study, out, seeds)
    for step in choosing:
        print(visible(f"semalign {shlex.join(step.args)}"))
    swept = {one.name: one.sweep for one in study.systems if one.sweep} if choosing else {}
    for step in steps(study, out, seeds):
        if step not in choosing:
            unsure = f"# if {step.system} is chosen: " if step.system in swept else ""
            print(visible(f"{unsure}semalign {shlex.join(step.args)}"))


def run_study(configs: Path, out: Path, seeds: int, jobs: int = 1) -> None:
    """Run every step that is not finished yet, and write the joined ``results.json``.

    Args:
        configs: Folder of the configs; see `read_study`.
        out: Folder of the study.
        seeds: Number of seeds.
        jobs: Number of steps to run side by side, each in a process of its own.

    Raises:
        ValueError: If a config is missing, ``study.yaml`` is malformed or names a metric that is not measured,
            ``seeds`` or ``jobs`` is not positive, compared systems would be tested differently, or a step fails.
    """
    study = _read(configs, seeds, jobs)
    check_judge(study, f"{configs / 'study.yaml'}: judge")
    from semalign_pl.report.verdict import with_sentences
    from semalign_pl.study.record import read_peak_memory
    from semalign_pl.study.tested_alike import check_tested_alike

    if study.frontier is not None:
        check_tested_alike(study, f"{configs / 'study.yaml'}: frontier.compare")
    seconds: dict[str, list[float]] = {}
    chosen, choice = dict[str, str](), None
    done = _choosing_steps(study, out, seeds)
    if done:
        assert study.frontier is not None
        first = {key: variants[0].name for key, variants in group(study.systems).items()}
        expected = steps(replace(study, systems=keep_chosen(study.systems, first)), out, seeds)
        later = [step for step in expected if step not in done]
        _run_plan(done, study, configs, out, jobs, seconds, later=later)
        choice = choose(study, out, min(seeds, study.frontier.choose_seeds or seeds))
        chosen = choice["chosen"]
        print(visible(f"chosen on {study.frontier.choose_on}: {', '.join(chosen.values())}"), flush=True)
        study = replace(study, systems=keep_chosen(study.systems, chosen))
    plan = list(steps(study, out, seeds))
    fresh = [step for step in plan if step not in done]
    results = _run_plan(fresh, study, configs, out, jobs, seconds, earlier=len(done))
    frontier, best = ({}, {}) if study.frontier is None else compare(study, out, results, chosen)
    joined = join(study.systems, results, best)
    judge = [] if study.judge is None else read_judge_results(study.judge.pairs, out, seeds)
    add_wins(joined, judge)
    content = {
        "systems": joined,
        **({"frontier": frontier} if frontier else {}),
        **({"choice": choice} if choice else {}),
        **({"judge": judge} if judge else {}),
        **({"published": read_published(study.published)} if study.published else {}),
        "run": {
            "command": shlex.join(
                ("semalign", "study", "--config", str(configs), "--out", str(out), "--seeds", str(seeds))
            ),
            "commands": [f"semalign {shlex.join(step.args)}" for step in [*done, *fresh]],
            "seeds": list(range(seeds)),
            "seconds": seconds,
            "peak_memory_mib": max(measure_peak(), *map(read_peak_memory, [*done, *fresh])),
            "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
            "versions": results[0, BASE][END]["run"]["versions"],
        },
    }
    file = out / "results.json"
    write_text(file, to_json(with_sentences(content), file, indent=2))


def _read(configs: Path, seeds: int, jobs: int) -> Study:
    for flag, number in (("--seeds", seeds), ("--jobs", jobs)):
        if number < 1:
            raise ValueError(f"{flag}: {number} is not a positive number")
    study = read_study(configs)
    if study.published is not None:
        read_published(study.published)  # refuses a malformed file before anything is trained
    if study.frontier is not None and study.frontier.choose_on is not None:
        check_other_data(study.systems, study.frontier.choose_on, f"{configs / 'study.yaml'}: frontier.choose_on")
    return study


def _choosing_steps(study: Study, out: Path, seeds: int) -> list[Step]:
    """Steps of the choice among variants; none if the study has no data of its own for it."""
    if study.frontier is None or study.frontier.choose_on is None:
        return []
    first = min(seeds, study.frontier.choose_seeds or seeds)
    return list(choosing_steps(study, out, first))


def _run_plan(
    plan: Sequence[Step],
    study: Study,
    configs: Path,
    out: Path,
    jobs: int,
    seconds: dict[str, list[float]],
    earlier: int = 0,
    later: Sequence[Step] = (),
) -> dict[tuple[int, str], Points]:
    """Run every step that is not finished yet.

    Args:
        plan: Steps in order.
        study: Study of the steps.
        configs: Folder of the configs, for messages.
        out: Folder of the study.
        jobs: Number of steps to run side by side.
        seconds: Durations by name of the step, which is added to.
        earlier: Number of steps before these, for messages.
        later: Steps after these, for messages.

    Returns:
        Results of each test, by seed and system.
    """
    from semalign_pl.run.digests import Digests
    from semalign_pl.study.jobs import run_side_by_side
    from semalign_pl.study.record import is_old
    from semalign_pl.study.run_step import Outcome, run_step

    def in_turn() -> Generator[tuple[int, Outcome], None, None]:
        for place, step in enumerate(plan):
            print(visible(f"[{numbers[place]}] semalign {shlex.join(step.args)}"), flush=True)
            yield place, run_step(step, digests)

    if old := sum(map(is_old, plan)):
        print(f"{old} finished steps are of an earlier version, which did not record what they depend on; run again")
    cache = out / "digests.json"
    digests, total = Digests(cache), earlier + len(plan) + len(later)
    numbers = [f"{number}/{total}" for number in range(earlier + 1, total + 1)]
    beside = run_side_by_side(plan, jobs, out, cache, study.frontier is not None, numbers) if jobs > 1 else in_turn()
    outcomes: dict[int, Outcome] = {}
    known, after = {name: [*each] for name, each in seconds.items()}, [step.name for step in later]
    with closing(beside) as running:  # a refusal here ends the steps that run
        for place, outcome in running:
            step, outcomes[place] = plan[place], outcome
            if step.command == "test" and study.frontier is not None and outcome.points is not None:
                check_metrics(study.frontier, outcome.points[END], configs)
            known.setdefault(step.name, []).append(outcome.seconds)
            pending = [one.name for number, one in enumerate(plan) if number not in outcomes] + after
            left = time_left(pending, known, jobs)
            about = "" if left is None or not pending else f", about {format_seconds(left)} left"
            who = "" if jobs == 1 else f"{step.name} of seed {step.seed} took {format_seconds(outcome.seconds)}; "
            print(f"  {who}{total - len(pending)} of {total} steps done{about}", flush=True)
    for place, outcome in sorted(outcomes.items()):
        seconds.setdefault(plan[place].name, []).append(outcome.seconds)
    return {
        (plan[place].seed, plan[place].system): outcome.points
        for place, outcome in sorted(outcomes.items())
        if outcome.points is not None
    }
