"""Measure what a point of a frontier costs in one process, against a separate ``semalign test``.

python benchmarks/frontier.py   # writes results/frontier_points.json; needs runs/quickstart (make quickstart)

A round tests one scale of the adapter by a `semalign test` of its own, from the first import to the last file, and then
the end and five scales by one `semalign frontier`. The scores of the scale that both tested must be equal.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness

SCALES = (0.9, 0.75, 0.5, 0.25, 0.1)
SHARED = 0.5
"""Scale that is also tested separately."""


def run(command: list[str]) -> float:
    """Run a command in a process of its own and return its duration in seconds."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "semalign_pl", *command], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def one_round(recipe: list[str], adapter: Path, out: Path) -> dict[str, Any]:
    """Seconds of both ways, and whether their scores are equal."""
    shutil.rmtree(out, ignore_errors=True)
    alone = ["--trainer.default_root_dir", str(out / "alone"), "--model.init_args.adapter", str(adapter)]
    test = run(["test", *recipe, *alone, "--model.init_args.adapter_scale", str(SHARED)])
    scales = ",".join(map(str, SCALES))
    all_points = run(["frontier", str(adapter), *recipe, "--out", str(out / "run"), "--scales", scales])
    records = sorted((out / "run").rglob("point.done.json"), key=lambda path: path.stat().st_mtime_ns)
    scores = [
        json.loads((folder / "results.json").read_text(encoding="utf-8"))["metrics"]
        for folder in (out / "alone", out / "run" / "points" / f"scale-{SHARED:g}")
    ]
    return {
        "test_seconds": test,
        "frontier_seconds": all_points,
        "point_seconds": [json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in records],
        "equal": scores[0] == scores[1],
    }


def main() -> None:
    """Alternate both ways, and write medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/quickstart/strong_sft.yaml", help="recipe (default: %(default)s)")
    parser.add_argument(
        "--adapter", default="runs/quickstart/seed-0/strong_sft/adapter", help="adapter (default: %(default)s)"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/bench-frontier"), help="folder (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds (default: %(default)s)")
    options = parser.parse_args()
    harness.existing(f"{options.adapter}/adapter_config.json")
    recipe = ["--config", options.config]
    rounds = []
    for number in range(options.rounds):
        rounds.append(one_round(recipe, Path(options.adapter), options.out))
        print(f"  {number}: {rounds[-1]}", file=sys.stderr)
    points = 1 + len(SCALES)
    test = statistics.median(one["test_seconds"] for one in rounds)
    whole = statistics.median(one["frontier_seconds"] for one in rounds)
    further = statistics.median(seconds for one in rounds for seconds in one["point_seconds"][1:])
    ratios = {
        "further_point": further / test,
        "all_points": whole / points / test,
        "scores_equal": all(one["equal"] for one in rounds),
    }
    medians = {"test": test, "frontier": whole, "further_point": further}
    command = f"python benchmarks/frontier.py --rounds {options.rounds}"
    harness.write("frontier_points", ratios, rounds, {"benchmark": command}, seconds=medians, points=points)
    harness.table(
        "seconds, median",
        ["", "seconds", "of a separate test"],
        [
            ["separate semalign test", f"{test:.2f}", "1"],
            ["each further point", f"{further:.2f}", f"{further / test:.2f}"],
            [
                f"all {points} points, start included, per point",
                f"{whole / points:.2f}",
                f"{whole / points / test:.2f}",
            ],
        ],
    )
    if not ratios["scores_equal"]:
        sys.exit("the scores of the shared scale differ")


if __name__ == "__main__":
    main()
