"""Run the steps of a study side by side, each in a process of its own, as soon as the steps that it needs are done."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semalign_pl.files.atomic import temporary_folder
from semalign_pl.messages.terminal import visible
from semalign_pl.run.signals import ASKING, GRACE_SECONDS, Stopped, StopRequest, install
from semalign_pl.study.protocol import Step
from semalign_pl.study.run_step import Outcome
from semalign_pl.study.systems import BASE, SHARED
from semalign_pl.study.worker import StepTask

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class _Job:
    """Running step.

    Attributes:
        place: Place of the step in the plan.
        slot: Number of the job, 0 to ``jobs - 1``, which decides its GPU.
        process: Process of the step.
        log: File with what the process prints, after what earlier attempts printed.
        start: Size of the log when the process starts, in bytes.
        outcome: File with the outcome, once the process has ended.
    """

    place: int
    slot: int
    process: subprocess.Popen[bytes]
    log: Path
    start: int
    outcome: Path


def needs(plan: Sequence[Step], base_first: bool) -> list[set[int]]:
    """Places of the steps that each step needs.

    These are the trainings of the encoder and of the adapter that it starts from or tests, and the back-translation;
    to judge, both tests.

    Args:
        plan: Steps in order.
        base_first: True if every step also needs the test of the base model, by which the study's settings are checked.
    """
    trained = {step.folder / "adapter": place for place, step in enumerate(plan) if step.command == "fit"}
    tested = {step.folder: place for place, step in enumerate(plan) if step.command in ("test", "frontier")}
    first = {place for place, step in enumerate(plan) if step.system in SHARED or (base_first and step.system == BASE)}
    return [
        ({trained[step.adapter]} if step.adapter in trained else set())
        | {tested[folder] for folder in step.answers if folder in tested}
        | {other for other in first - {place} if plan[place].system not in SHARED}
        for place, step in enumerate(plan)
    ]


def choose_place(plan: Sequence[Step], ready: Sequence[int]) -> int:
    """Choose the step to start next: the first training, as its tests and other trainings wait for it.

    Args:
        plan: Steps in order.
        ready: Places of steps that wait for nothing, at least one, in order.
    """
    return min(ready, key=lambda place: plan[place].command != "fit")


def run_side_by_side(
    plan: Sequence[Step], jobs: int, out: Path, digests: Path, base_first: bool, numbers: Sequence[str]
) -> Generator[tuple[int, Outcome], None, None]:
    """Run all steps, and yield the place and the outcome of each when it is done.

    If there are several GPUs, each process sees one of them. Without a GPU, each computes with one thread, unless
    OMP_NUM_THREADS is set. If a step fails, a signal arrives, or the caller stops, the other steps save a checkpoint
    and end.

    Args:
        plan: Steps in order.
        jobs: Number of processes.
        out: Folder of the study; what a step prints is in ``logs`` in it.
        digests: Cache of digests.
        base_first: True to test the base model before anything else.
        numbers: Position of each step in the study, for messages.

    Raises:
        ValueError: If a step fails; with its last line and its log.
        Stopped: If a signal arrives.
    """
    needed, gpus = needs(plan, base_first), list_gpus()
    done, waiting = set[int](), list(range(len(plan)))
    running: list[_Job] = []
    (out / "logs").mkdir(parents=True, exist_ok=True)
    with temporary_folder(out) as outcomes, _recording_signals() as request, _ending(running):
        while waiting or running:
            while len(running) < jobs and (ready := [place for place in waiting if needed[place] <= done]):
                slot = min(set(range(jobs)) - {job.slot for job in running})
                place = choose_place(plan, ready)
                job = _start(plan[place], place, slot, out, digests, outcomes, _environment(slot, gpus))
                waiting.remove(job.place)
                running.append(job)
                command = shlex.join(plan[job.place].args)
                print(visible(f"[{numbers[job.place]}] semalign {command}\n  prints to {job.log}"), flush=True)
            time.sleep(POLL_SECONDS)
            if request.number:
                raise Stopped(request.number)
            for job in [job for job in running if job.process.poll() is not None]:
                running.remove(job)
                if job.process.returncode:
                    raise ValueError(_describe_failure(plan[job.place], job))
                yield job.place, Outcome(**json.loads(job.outcome.read_bytes()))
                done.add(job.place)


def list_gpus() -> list[str]:
    """GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; empty if there are none."""
    import torch

    if not torch.cuda.is_available():
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = [name.strip() for name in given.split(",")] if given else []
    return named[: torch.cuda.device_count()] or [str(number) for number in range(torch.cuda.device_count())]


def _environment(slot: int, gpus: Sequence[str]) -> dict[str, str]:
    """Environment of a job's process."""
    if len(gpus) > 1:
        return {**os.environ, "CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]}
    return {**os.environ} if gpus else {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", **os.environ}


def _start(
    step: Step, place: int, slot: int, out: Path, digests: Path, outcomes: Path, environment: Mapping[str, str]
) -> _Job:
    log = out / "logs" / f"seed-{step.seed}.{step.name.replace(' ', '.')}.log"
    outcome = outcomes / f"{place}.json"
    with log.open("ab") as file:
        file.write(visible(f"-- {time.strftime('%Y-%m-%d %H:%M:%S')} semalign {shlex.join(step.args)}\n").encode())
        file.flush()
        start = file.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "semalign_pl.study.worker"],
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # a terminal's Ctrl-C goes to this process alone, which passes it on once
        )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # the process has failed already, which its status says
        process.stdin.write(StepTask(step, digests, outcome).to_line())
        process.stdin.flush()  # it stays open: a process whose input closes knows that this one has died
    return _Job(place, slot, process, log, start, outcome)


@contextlib.contextmanager
def _recording_signals() -> Iterator[StopRequest]:
    """Record a first signal, so that the steps can save; a second one raises."""
    request = StopRequest(waits=True)
    before = {number: signal.getsignal(number) for number in ASKING}
    install(request)
    try:
        yield request
    finally:
        for number, handler in before.items():
            with contextlib.suppress(ValueError):  # outside the main thread
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def _ending(running: list[_Job]) -> Iterator[None]:
    """End the processes that still run when the block ends: they finish their optimiser step and save a checkpoint."""
    try:
        yield
    finally:
        processes = [job.process for job in running]
        try:
            for process in processes:
                process.terminate()
            for process in processes:
                process.wait()
        except BaseException:  # a second signal does not wait for the optimiser step
            for process in processes:
                process.terminate()
            raise
        finally:
            deadline = time.monotonic() + GRACE_SECONDS
            for process in processes:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.0, deadline - time.monotonic()))
                process.kill()
                process.wait()


def _describe_failure(step: Step, job: _Job) -> str:
    printed = job.log.read_bytes()[job.start :].decode("utf-8", "replace")
    lines = [line for line in printed.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("semalign: error: ")] or lines[-1:] or ["it printed nothing"]
    reason = told[-1].removeprefix("semalign: error: ")
    return (
        f"{step.name} of seed {step.seed} failed with status {job.process.returncode}: {reason} (whole output: "
        f"{job.log}); the steps beside it have saved a checkpoint, and the same command resumes them"
    )
