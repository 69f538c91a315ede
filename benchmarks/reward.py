"""Measure the rewards' share of a GRPO step on the miniature world.

python benchmarks/reward.py   # writes results/reward.json
"""

from __future__ import annotations

import csv
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import harness

WITHIN = 0.10
"""Largest share of a step that rewards may take."""
WARM_UP, STEPS = 5, 40
COLD, RUN = Path("runs/quickstart/cold_start"), Path("runs/bench-reward")


def main() -> None:
    """Train for some steps as the quickstart does, and read the time of each phase from its log."""
    semalign = [sys.executable, "-m", "semalign_pl"]
    quiet = ["--trainer.enable_progress_bar", "false"]
    if not (COLD / "adapter").is_dir():
        subprocess.run([*semalign, "fit", "--config", "configs/quickstart/cold_start.yaml", *quiet], check=True)
    command = ["fit", "--config", "configs/quickstart/semantic_grpo.yaml", "--trainer.max_steps", str(STEPS)]
    command += ["--trainer.default_root_dir", str(RUN), *quiet]
    shutil.rmtree(RUN, ignore_errors=True)  # an earlier measurement; a fit refuses to overwrite it
    subprocess.run([*semalign, *command], check=True)
    with (RUN / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["train/time/reward_share"]][WARM_UP:]
    phases = ("rollout", "reward", "reference", "update")
    shares = {name: statistics.median(float(row[f"train/time/{name}_share"]) for row in rows) for name in phases}
    seconds = {name: statistics.median(float(row[f"train/time/{name}_seconds"]) for row in rows) for name in phases}
    harness.table(
        f"a GRPO step on the miniature world, medians of {len(rows)} steps",
        ["phase", "seconds", "share"],
        [[name, f"{seconds[name]:.3f}", f"{shares[name]:.1%}"] for name in phases],
    )
    verdict = "within" if shares["reward"] <= WITHIN else "not within"
    print(f"Rewards (semantic and language) take {shares['reward']:.1%} of a step, {verdict} {WITHIN:.0%}.")
    runs = [{name: float(row[f"train/time/{name}_seconds"]) for name in phases} for row in rows]
    harness.write("reward", {"share": shares}, runs, {"ours": " ".join(["semalign", *command])}, seconds=seconds)


if __name__ == "__main__":
    main()
