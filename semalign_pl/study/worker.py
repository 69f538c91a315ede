"""A process of its own for one step of a study: ``python -m semalign_pl.study.worker``.

It reads a `StepTask` from standard input and then watches that input: when it closes, the study's process has died, and
the step ends as after SIGTERM, with a checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from semalign_pl.files.atomic import write_text
from semalign_pl.start.threads import collecting_later
from semalign_pl.study.protocol import Step


@dataclass(frozen=True)
class StepTask:
    """Step to run.

    Attributes:
        step: The step.
        digests: Cache of digests.
        outcome: File to write the outcome to, as JSON.
    """

    step: Step
    digests: Path
    outcome: Path

    def to_line(self) -> bytes:
        """Task as one line of JSON."""
        return json.dumps(asdict(self), default=str, ensure_ascii=True).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> StepTask:
        """Task that `to_line` wrote."""
        given = json.loads(line)
        step: dict[str, Any] = given["step"]
        for key in ("config", "folder", "adapter", "overlay"):
            step[key] = None if step[key] is None else Path(step[key])
        for key in ("flags", "scales"):
            step[key] = tuple(step[key])
        step["answers"] = tuple(map(Path, step["answers"]))
        return cls(Step(**step), Path(given["digests"]), Path(given["outcome"]))


def main() -> int:
    """Run the step of the task; return the exit status: 0, or 2 after a user's mistake."""
    from semalign_pl.messages.errors import one_line
    from semalign_pl.messages.terminal import prepare_process
    from semalign_pl.run.signals import ending_by_signals

    prepare_process()
    sys.path.append(os.getcwd())  # for a user's own rewards, as in the study's process
    task = StepTask.from_line(sys.stdin.buffer.readline())
    sys.argv = ["semalign", *task.step.args]
    threading.Thread(target=_watch_parent, daemon=True).start()
    with ending_by_signals(), one_line(task.step.args) as status:
        with collecting_later():
            import semalign_pl.cli  # noqa: F401  (slow, and needed by every step)
            from semalign_pl.run.digests import Digests
            from semalign_pl.study.run_step import run_step

        outcome = run_step(task.step, Digests(task.digests))
        write_text(task.outcome, json.dumps(asdict(outcome)))
    return status.code


def _watch_parent() -> None:
    # Not sys.stdin, whose lock this thread would hold when the interpreter ends, which aborts the process.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
