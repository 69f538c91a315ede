"""Run one step of a study in this process, unless its results can be reused."""

from __future__ import annotations

import gc
import time
from dataclasses import dataclass

from semalign_pl.files.documents import read_json
from semalign_pl.run.digests import Digests
from semalign_pl.run.grounds import Grounds, complete
from semalign_pl.study.frontier import measure_points
from semalign_pl.study.half_done import distrust, earlier_seconds, enter
from semalign_pl.study.joined import END, Points
from semalign_pl.study.protocol import Step
from semalign_pl.study.record import is_old, record_file, reuse, write


@dataclass(frozen=True)
class Outcome:
    """Result of a step.

    Attributes:
        seconds: Duration in seconds, over all starts of a training; of the earlier run if its results are reused.
        points: Results by point of a test or frontier; ``None`` for a training.
    """

    seconds: float
    points: Points | None = None


def run_step(step: Step, digests: Digests) -> Outcome:
    """Run one command in this process, unless it was run before and nothing that it depends on has changed since.

    Args:
        step: Step whose starting adapter, if any, exists already.
        digests: Digests of files.

    Raises:
        ValueError: If the command is refused; with the remedy.
    """
    if step.command == "frontier":
        points, seconds = measure_points(step)
        return Outcome(seconds, points)
    if step.command == "judge":
        return _judge(step, digests)
    if step.command == "translate":
        return _translate(step, digests)
    from semalign_pl.cli import main
    from semalign_pl.cli.parsed_recipe import parse_recipe
    from semalign_pl.study.back_translation import check_texts
    from semalign_pl.study.grounds import collect, parse

    if step.command == "fit" and step.texts:
        check_texts(parse_recipe(step.args[1:], "fit").make_data(), step.texts)
    settings = parse(step.args)
    grounds = collect(step, settings, digests)
    if (outcome := _reuse(step, grounds, digests)) is not None:
        return outcome
    flags = enter(step.folder, step.command, {k: v for k, v in grounds.items() if not k.startswith("hub ")})
    started = time.monotonic()
    main([*step.args, *flags])
    gc.collect()
    seconds = time.monotonic() - started
    if step.command == "fit":
        seconds += earlier_seconds(step.folder)
    write(step, complete(grounds, collect(step, settings, digests)), seconds, digests)
    return _read(step, seconds)


def _judge(step: Step, digests: Digests) -> Outcome:
    """Ask the judges, unless they have judged the same answers before. An interrupted step goes on by itself."""
    from semalign_pl.judge.command import compare
    from semalign_pl.judge.flags import check_flags, make_parser
    from semalign_pl.study.grounds import collect_judge

    grounds = collect_judge(step, digests)
    if (outcome := _reuse(step, grounds, digests)) is not None:
        return outcome
    started = time.monotonic()
    options = make_parser().parse_args([*step.args[1:]])
    compare(options, check_flags(options))
    gc.collect()  # a local judge, before the next system is loaded
    seconds = time.monotonic() - started
    write(step, grounds, seconds, digests)
    return Outcome(seconds)


def _translate(step: Step, digests: Digests) -> Outcome:
    """Translate the texts, unless it was done before. An interrupted step goes on by itself."""
    from semalign_pl.study.back_translation import back_translate
    from semalign_pl.study.grounds import collect_translation

    grounds = collect_translation(step, digests)
    if (outcome := _reuse(step, grounds, digests)) is not None:
        return outcome
    started = time.monotonic()
    back_translate(step.folder, step.texts)
    gc.collect()
    seconds = time.monotonic() - started
    write(step, grounds, seconds, digests)
    return Outcome(seconds)


def _reuse(step: Step, grounds: Grounds, digests: Digests) -> Outcome | None:
    """Outcome of an earlier run of the same step; otherwise its record is removed, and ``None`` is returned."""
    record = record_file(step)
    if not record.is_file():
        return None
    done, reason = reuse(step, grounds, digests)
    if done is not None:
        print(f"  done before in {done.seconds:.0f} s", flush=True)
        return _read(step, done.seconds)
    if not is_old(step):
        print(f"  {reason}; {step.name} is run again", flush=True)
    if step.command == "fit":
        distrust(step.folder)  # a resumed run would find the changed result and leave it as it is
    record.unlink()  # before the results that it describes are overwritten
    return None


def _read(step: Step, seconds: float) -> Outcome:
    if step.command in ("fit", "judge", "translate"):
        return Outcome(seconds)
    return Outcome(seconds, {END: read_json(step.folder / "results.json", "delete its folder to test again")})
