"""Time of a training step on an idle machine and beside one busy process, by how the step's threads wait.

python benchmarks/loaded.py               # at most 3 minutes; writes results/loaded.json
python benchmarks/loaded.py worker ours   # started by the above, one process per contestant

Contestants take GRPO steps of the miniature world in turn, in rounds that alternate: idle, and beside one process that
computes all the time. "ours" waits as `semalign` sets it before torch loads, "one thread" has nothing to wait for.
"spinning" waits as OpenMP does by default, and comes last, for one round of each kind and a limited time. The result
says nothing unless the machine is otherwise idle; its load before the run is in the file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import harness

WORLD = "runs/quickstart/world"
RECIPE = "configs/quickstart/semantic_grpo.yaml"
THREADS = {"ours": 2, "one thread": 1, "spinning": 2}
"""Contestants with their threads; the machine of the published figures has two cores."""
SPINNING_SECONDS = 80
"""Seconds after which the contestant that spins is ended; it may take minutes for a step."""
ALLOWED = 3.0
"""Largest ratio of a step beside one busy process to an idle one that is accepted of ours."""
BESIDE = ("nothing", "one busy process")
BUSY = "import os\nwhile os.getppid() == {parent}: pass"


def work(contestant: str) -> None:
    """Train in turn with the others, until the benchmark ends this process."""
    if contestant == "ours":
        from semalign_pl.start.threads import wait_passively

        wait_passively()  # before torch is loaded
    turn = harness.Turn()
    from lightning.pytorch import Callback

    from semalign_pl.cli import lightning_cli

    class Turns(Callback):
        def on_train_batch_start(self, *_: object) -> None:
            turn.begin()

        def on_train_batch_end(self, *_: object) -> None:
            turn.end()

    class TurnsCLI(lightning_cli.SemAlignCLI):
        def before_fit(self) -> None:
            super().before_fit()
            self.trainer.callbacks.append(Turns())

    with tempfile.TemporaryDirectory() as folder:
        flags = {
            "--trainer.default_root_dir": folder,
            "--trainer.max_steps": "1000",
            "--trainer.logger": "false",
            "--trainer.enable_progress_bar": "false",
            "--model.init_args.adapter": "null",
            "--model.init_args.max_new_tokens": "24",
            "--data.init_args.batch_size": "4",
        }
        lightning_cli.make_cli(
            TurnsCLI, ["fit", "--config", RECIPE, *(word for pair in flags.items() for word in pair)]
        )


class Neighbour:
    """One process that computes all the time in every second round."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.rounds = -1  # the first is a warm-up, without the process

    def switch(self) -> None:
        """Begin the next round: end the process, or start it for an odd round."""
        self.stop()
        if self.rounds % 2 == 1:
            self.process = subprocess.Popen([sys.executable, "-c", BUSY.format(parent=os.getpid())])
            time.sleep(0.5)
        self.rounds += 1

    def stop(self) -> None:
        """End the process, if it runs."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def measure(commands: dict[str, list[str]], rounds: int) -> list[harness.Record]:
    """Run contestants in rounds that alternate, and note in each record what ran beside it.

    Args:
        commands: Commands by name of the contestant.
        rounds: Number of rounds of each kind.

    Returns:
        Records of the harness, with ``beside``.
    """
    neighbour = Neighbour()
    try:
        records = harness.side_by_side(commands, 2 * rounds, neighbour.switch)
    finally:
        neighbour.stop()
    return [{**record, "beside": BESIDE[int(record["repetition"]) % 2]} for record in records]


def main() -> int:
    """Measure, print the medians, write the results.

    Returns:
        Exit status: 1 if our step beside a busy process takes more than ``ALLOWED`` times an idle one.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="idle rounds, and as many beside the busy process")
    options = parser.parse_args()
    harness.existing(f"{WORLD}/base/config.json")
    load, started = os.getloadavg()[0], time.perf_counter()
    unset = [word for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") for word in ("-u", name)]
    commands = {
        name: ["env", *unset, f"OMP_NUM_THREADS={threads}", sys.executable, __file__, "worker", name]
        for name, threads in THREADS.items()
    }
    spinning = ["timeout", str(SPINNING_SECONDS), *commands["spinning"]]
    records = measure({name: command for name, command in commands.items() if name != "spinning"}, options.rounds)
    try:
        records += measure({"spinning": spinning}, 1)
    except RuntimeError:
        print(f"spinning: two steps and a warm-up took more than {SPINNING_SECONDS} s", file=sys.stderr)
    medians = {
        name: {b: harness.median([r for r in records if r["beside"] == b], name, "seconds") for b in BESIDE}
        for name in dict.fromkeys(str(record["contestant"]) for record in records)
    }
    ratios = {name: of[BESIDE[1]] / of[BESIDE[0]] for name, of in medians.items()}
    rows = [[name, *(f"{s:.2f}" for s in of.values()), f"{ratios[name]:.2f}"] for name, of in medians.items()]
    harness.table("seconds per step, medians", ["threads wait", "idle", "beside one busy process", "ratio"], rows)
    harness.write(
        "loaded",
        dict(ratios),
        list(records),
        dict(commands),
        seconds=medians,
        spinning_limit_seconds=SPINNING_SECONDS,
        load_before=load,
        wall_seconds=time.perf_counter() - started,
    )
    kept = ratios["ours"] <= ALLOWED
    print(f"ours: {ratios['ours']:.2f} x idle, {'within' if kept else 'above'} {ALLOWED:g}; load before: {load:.2f}")
    return 0 if kept else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(sys.argv[2])
    else:
        sys.exit(main())
