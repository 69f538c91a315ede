"""``semalign study``: train, test and compare every system of a study, and report."""

from __future__ import annotations

import gc
import os
import platform
import resource
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.files.atomic import write_text
from semalign_pl.files.documents import read_json
from semalign_pl.files.json_text import to_json
from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line
from semalign_pl.messages.terminal import visible
from semalign_pl.report.command import show
from semalign_pl.study.frontier import check_metrics, check_other_data, choose, compare, keep_chosen, measure_points
from semalign_pl.study.half_done import distrust, enter
from semalign_pl.study.joined import END, Points, join
from semalign_pl.study.protocol import Step, choosing_steps, steps
from semalign_pl.study.systems import BASE, Study, read_study

if TYPE_CHECKING:
    from semalign_pl.run.digests import Digests


def run(args: Sequence[str]) -> int:
    """Run ``semalign study``.

    Args:
        args: Name of the command, then its flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = CommandParser(prog="semalign study", description=__doc__, allow_abbrev=False)
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
    with one_line() as status:
        options = parser.parse_args(list(args[1:]))
        run_study(options.config, options.out, options.seeds)
        show(options.out)
    return status.code


def run_study(configs: Path, out: Path, seeds: int) -> None:
    """Run every step that is not finished yet, and write the joined ``results.json``.

    Args:
        configs: Folder of the configs; see `read_study`.
        out: Folder of the study.
        seeds: Number of seeds.

    Raises:
        ValueError: If a config is missing, ``study.yaml`` is malformed or names a metric that is not measured, or
            ``seeds`` is not positive.
    """
    if seeds < 1:
        raise ValueError(f"--seeds: {seeds} is not a positive number")
    from semalign_pl.report.verdict import with_sentences
    from semalign_pl.run.digests import Digests

    study = read_study(configs)
    digests = Digests(out / "digests.json")
    done: list[Step] = []
    seconds: dict[str, list[float]] = {}
    systems, chosen, choice = study.systems, dict[str, str](), None
    if study.frontier is not None and study.frontier.choose_on is not None:
        check_other_data(systems, study.frontier.choose_on, f"{configs / 'study.yaml'}: frontier.choose_on")
        first = min(seeds, study.frontier.choose_seeds or seeds)
        plan = list(choosing_steps(systems, out, first, study.frontier))
        _run_plan(plan, study, configs, digests, seconds)
        choice, done = choose(study, out, first), plan
        chosen = choice["chosen"]
        systems = keep_chosen(systems, chosen)
        print(visible(f"chosen on {study.frontier.choose_on}: {', '.join(chosen.values())}"), flush=True)
    plan = list(steps(systems, out, seeds, study.frontier))
    fresh = [step for step in plan if step not in done]
    results = _run_plan(fresh, study, configs, digests, seconds)
    study = replace(study, systems=systems)
    frontier, best = ({}, {}) if study.frontier is None else compare(study, out, results, chosen)
    content = {
        "systems": join(systems, results, best),
        **({"frontier": frontier} if frontier else {}),
        **({"choice": choice} if choice else {}),
        "run": {
            "command": f"semalign study --config {configs} --out {out} --seeds {seeds}",
            "commands": [f"semalign {shlex.join(step.args)}" for step in [*done, *fresh]],
            "seeds": list(range(seeds)),
            "seconds": seconds,
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            / (2**20 if sys.platform == "darwin" else 2**10),
            "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
            "versions": results[0, BASE][END]["run"]["versions"],
        },
    }
    file = out / "results.json"
    write_text(file, to_json(with_sentences(content), file, indent=2))


def _run_plan(
    plan: Sequence[Step], study: Study, configs: Path, digests: Digests, seconds: dict[str, list[float]]
) -> dict[tuple[int, str], Points]:
    """Run every step that is not finished yet.

    Args:
        plan: Steps in order.
        study: Study of the steps.
        configs: Folder of the configs, for messages.
        digests: Digests of files.
        seconds: Durations by name of the step, which is added to.

    Returns:
        Results of each test, by seed and system.
    """
    from semalign_pl.study.record import is_old

    if old := sum(map(is_old, plan)):
        print(f"{old} finished steps are of an earlier version, which did not record what they depend on; run again")
    results: dict[tuple[int, str], Points] = {}
    for number, step in enumerate(plan, 1):
        print(visible(f"[{number}/{len(plan)}] semalign {shlex.join(step.args)}"), flush=True)
        if step.command == "frontier":
            results[step.seed, step.system], took = measure_points(step)
        else:
            took = _run_step(step, digests)
        if step.command == "test":
            tested = read_json(step.folder / "results.json", "delete its folder to test again")
            results[step.seed, step.system] = {END: tested}
            if study.frontier is not None:
                check_metrics(study.frontier, tested, configs)
        seconds.setdefault(step.name, []).append(took)
    return results


def _run_step(step: Step, digests: Digests) -> float:
    """Run one command in this process, unless it was run before and nothing that it depends on has changed since.

    Returns:
        Duration of the command in seconds; of the earlier run if that is reused.
    """
    from semalign_pl.cli import main
    from semalign_pl.run.grounds import complete
    from semalign_pl.study.grounds import collect, parse
    from semalign_pl.study.record import is_old, record_file, reuse, write

    record, settings = record_file(step), parse(step.args)
    grounds = collect(step, settings, digests)
    if record.is_file():
        done, reason = reuse(step, grounds, digests)
        if done is not None:
            print(f"  done before in {done.seconds:.0f} s", flush=True)
            return done.seconds
        if not is_old(step):
            print(f"  {reason}; {step.name} is run again", flush=True)
        if step.command == "fit":
            distrust(step.folder)  # a resumed run would find the changed result and leave it as it is
        record.unlink()  # before the results that it describes are overwritten
    flags = enter(step.folder, step.command, {k: v for k, v in grounds.items() if not k.startswith("hub ")})
    started = time.monotonic()
    main([*step.args, *flags])
    gc.collect()
    seconds = time.monotonic() - started
    write(step, complete(grounds, collect(step, settings, digests)), seconds, digests)
    return seconds
