"""Run contestants side by side: each is a process of its own, and they take their steps in turn.

A contestant trains as its users would train. A callback of its trainer waits before each step until it is the turn of
this process, and reports the step's seconds and peak memory afterwards; the other processes sleep meanwhile. So all
contestants run under the same conditions, and none is measured with another's memory.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import IO

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("semalign-pl", "torch", "transformers", "peft", "trl", "lightning", "bitsandbytes")


Record = dict[str, float | str]
"""Numbers of one step, with the name of the contestant."""

SPEEDS = {"speedup": "seconds", "cpu_speedup": "cpu_seconds"}
"""Fields that speed is compared by: CPU seconds hardly depend on what else the machine does."""


def existing(file: str) -> Path:
    """Path of a file that a benchmark reads, or the end of the process with the command that gets it."""
    from semalign_pl.files.example_folders import remedy

    if not Path(file).is_file():
        sys.exit(f"{file}: no such file{remedy(file)}")
    return Path(file)


class Turn:
    """Connection of a contestant to the benchmark: ``begin`` waits for its turn, ``end`` reports the step."""

    def __init__(self) -> None:
        import torch

        self.cuda = torch.cuda.is_available()
        self.out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # keep what the trainers print out of the reports
        self.model_mib = 0.0

    def begin(self) -> None:
        """Wait for the turn, then start the clock and reset the peak memory."""
        import torch

        print("ready", file=self.out, flush=True)
        if sys.stdin.readline().strip() != "go":
            os._exit(0)
        if self.cuda:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")
        self.model_mib = self.model_mib or self._mib("VmRSS")
        self.started, self.cpu_started = time.perf_counter(), time.process_time()

    def end(self, **numbers: float) -> None:
        """Report one step.

        Args:
            **numbers: Further numbers to report, e.g. tokens.
        """
        import torch

        if self.cuda:
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self.started
        peak = self._mib("VmHWM")
        cpu_seconds = time.process_time() - self.cpu_started
        report = {
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "peak_mib": peak,
            "above_model_mib": peak - self.model_mib,
            **numbers,
        }
        print(json.dumps(report), file=self.out, flush=True)

    def _mib(self, field: str) -> float:
        import torch

        if self.cuda:
            used = torch.cuda.memory_allocated() if field == "VmRSS" else torch.cuda.max_memory_allocated()
            return used / 2**20
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field):
                return int(line.split()[1]) / 1024
        raise OSError(f"no {field} in /proc/self/status")


def side_by_side(
    commands: dict[str, list[str]], repetitions: int, between: Callable[[], object] = lambda: None
) -> list[Record]:
    """Run contestants in turn. The first step of each is a warm-up and is dropped.

    Args:
        commands: Commands by name of the contestant.
        repetitions: Number of steps to keep per contestant.
        between: Function to call before each round.

    Returns:
        One record per step: contestant, repetition, seconds, cpu_seconds, peak_mib, above_model_mib and further
        reported numbers.
    """
    # Errors go to a file: a pipe that nobody reads would stop a contestant that warns a lot.
    errors = {name: tempfile.TemporaryFile("w+") for name in commands}
    processes = {
        name: subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors[name], text=True)
        for name, command in commands.items()
    }
    records = []
    try:
        for name in processes:
            _line(name, processes[name], errors[name])
        for repetition in range(-1, repetitions):
            between()
            names = list(processes) if repetition % 2 else list(processes)[::-1]
            for name in names:
                stdin = processes[name].stdin
                assert stdin is not None
                print("go", file=stdin, flush=True)
                record = json.loads(_line(name, processes[name], errors[name]))
                _line(name, processes[name], errors[name])
                if repetition >= 0:
                    records.append({"contestant": name, "repetition": repetition, **record})
                took = f"{record['seconds']:8.2f} s, of the CPU {record['cpu_seconds']:8.2f} s"
                print(f"  {name:>5} {took}  {record['above_model_mib']:8.0f} MiB", file=sys.stderr)
    finally:
        for process in processes.values():
            process.kill()
    return records


def _line(name: str, process: subprocess.Popen, errors: IO[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.wait()
        errors.seek(0)
        raise RuntimeError(f"{name} ended: {errors.read()[-3000:]}")
    return line


def median(records: list[Record], contestant: str, field: str) -> float:
    """Median of a field over a contestant's steps."""
    return statistics.median(float(record[field]) for record in records if record["contestant"] == contestant)


def ratio(records: list[Record], of: str, over: str, field: str) -> float:
    """Ratio of two contestants' medians of a field."""
    return median(records, of, field) / median(records, over, field)


def machine() -> dict[str, object]:
    """Machine and package versions of the run."""
    import torch

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        name = next(
            (x.split(":")[1].strip() for x in cpuinfo.read_text().splitlines() if x.startswith("model name")), name
        )
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
    }


def write(
    name: str, ratios: dict[str, object], runs: list[object], commands: dict[str, object], **more: object
) -> None:
    """Write ``results/NAME.json``.

    Args:
        name: Name of the benchmark.
        ratios: Ratios by shape.
        runs: Records of all repetitions.
        commands: Commands of the contestants by shape.
        **more: Further entries of the file.
    """
    RESULTS.mkdir(exist_ok=True)
    content = {"ratios": ratios, "runs": runs, "machine": machine(), "commands": commands, **more}
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"written: {path}", file=sys.stderr)


def table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title)
    for i, column in enumerate(columns):
        shown.add_column(column, justify="right" if i else "left")
    for row in rows:
        shown.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 200).print(shown)  # in a log, no column is cut
