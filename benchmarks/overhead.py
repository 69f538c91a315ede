"""Share of a study's time that is neither training nor testing: starting, parsing, loading, exporting, reporting.

python benchmarks/overhead.py                      # the quickstart, 8 minutes; writes results/overhead.json
python benchmarks/overhead.py --config my/configs  # another study, of which nothing is written

The study runs in this process, as `semalign study` does. Each number is in CPU seconds, so that a busy machine changes
it little. Training is all batches of all trainings, testing is all that `trainer.test` does between its first and last
batch, probes included.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness

QUICKSTART = Path("configs/quickstart")
WORLD = "runs/quickstart/world/base/config.json"
LARGEST_SHARE = 0.15
"""Largest share of the quickstart's time that is accepted."""


class Shares:
    """CPU seconds by activity. The time of one within another counts for the inner one alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner: list[float] = []

    def count(self, owner: Any, method: str, activity: str) -> None:
        """Let calls of a method count for an activity."""
        setattr(owner, method, self._time_calls(getattr(owner, method), activity))

    def _time_calls(self, function: Callable[..., Any], activity: str) -> Callable[..., Any]:
        @wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            started = time.process_time()
            self._inner.append(0.0)
            try:
                return function(*args, **options)
            finally:
                took, inner = time.process_time() - started, self._inner.pop()
                self.seconds[activity] = self.seconds.get(activity, 0.0) + took - inner
                if self._inner:
                    self._inner[-1] += took

        return call


def measure(configs: Path, out: Path) -> dict[str, float]:
    """Run a study of one seed, and return the CPU seconds of each activity, ``total`` included."""
    from lightning.pytorch.cli import LightningCLI
    from lightning.pytorch.loops.evaluation_loop import _EvaluationLoop
    from lightning.pytorch.loops.fit_loop import _FitLoop

    from semalign_pl.modules import AlignModule
    from semalign_pl.report.command import show
    from semalign_pl.study import command

    shares = Shares()
    shares.seconds["importing"] = time.process_time()
    shares.count(_FitLoop, "advance", "training")
    shares.count(_EvaluationLoop, "run", "testing")
    shares.count(LightningCLI, "parse_arguments", "parsing")
    shares.count(LightningCLI, "instantiate_classes", "instantiating")
    shares.count(AlignModule, "configure_model", "loading")
    command.run_study(configs, out, 1)
    reported = time.process_time()
    show(out)
    shares.seconds["reporting"] = time.process_time() - reported
    total = time.process_time()
    return {**shares.seconds, "rest": total - sum(shares.seconds.values()), "total": total}


def main() -> None:
    """Print the table, write the result of the quickstart, and refuse too large a share."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=QUICKSTART, help="folder of configs (default: %(default)s)")
    configs = parser.parse_args().config
    harness.existing(WORLD)
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(configs, Path(folder) / "out")
    share = 1 - (seconds["training"] + seconds["testing"]) / seconds["total"]
    rows = [[name, f"{value:.1f} s"] for name, value in seconds.items()]
    harness.table(f"outside of training and testing: {share:.1%}", ["activity", "CPU time"], rows)
    if configs == QUICKSTART:
        command = f"semalign study --config {configs} --out OUT"
        harness.write("overhead", {"outside of training and testing": share}, [seconds], {"quickstart": command})
        assert share <= LARGEST_SHARE, f"{share:.1%} of the time is neither training nor testing"


if __name__ == "__main__":
    main()
