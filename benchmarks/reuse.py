"""Compare rollouts with and without the completions of the epoch before as drafts (`reuse_rollouts`), epoch by epoch.

python benchmarks/reuse.py   # the quickstart's GRPO on a few rows, at three learning rates; writes results/reuse.json

Both runs of a rate sample the same tokens, so only their seconds differ. It needs the quickstart's cold start.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness

RATES = (1e-4, 3e-4, 1e-3)
KEYS = ("train/time/rollout_seconds", "train/reused_tokens", "train/completion_tokens")


def epochs(file: Path, steps: int) -> list[dict[str, float]]:
    """Sum of the rollouts' seconds, mean share of reused tokens and mean length, per epoch of ``steps`` steps."""
    with file.open(encoding="utf-8") as text:
        rows = [[float(row[key]) for key in KEYS] for row in csv.DictReader(text) if row.get(KEYS[0])]
    chunks = [rows[at : at + steps] for at in range(0, len(rows), steps)]
    columns = [list(zip(*chunk, strict=True)) for chunk in chunks]
    return [{"seconds": sum(s), "reused": sum(r) / len(r), "tokens": sum(t) / len(t)} for s, r, t in columns]


def run(folder: Path, rate: float, options: argparse.Namespace, drafts: bool) -> list[dict[str, float]]:
    """Train, and read what each epoch's rollouts took."""
    from semalign_pl.cli import main
    from semalign_pl.modules.rollout_reuse import RolloutReuse

    kept = RolloutReuse.drafts
    if not drafts:
        RolloutReuse.drafts = lambda self, keys, num_generations: [[]] * (len(keys) * num_generations)
    steps = options.rows // 16
    flags: dict[str, Any] = {
        "trainer.default_root_dir": folder,
        "trainer.max_steps": steps * options.epochs,
        "trainer.callbacks": json.dumps([
            {"class_path": "SemanticReward", "init_args": {"encoder": str(options.world / "encoder"), "tau": 0.0}},
            {"class_path": "LanguageReward", "init_args": {"language": "bo"}},
        ]),
        "data.init_args.limit": options.rows,
        "model.init_args.adapter": options.adapter,
        "model.init_args.optimizer.init_args.lr": rate,
        "model.init_args.reuse_rollouts": "true",
    }  # fmt: skip
    try:
        main(["fit", "--config", "configs/quickstart/semantic_grpo.yaml", *(f"--{k}={v}" for k, v in flags.items())])
    finally:
        RolloutReuse.drafts = kept
    return epochs(folder / "metrics.csv", steps)


def main() -> None:
    """Train each pair of runs, print the ratios per epoch and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--world", type=Path, default=Path("runs/quickstart/world"))
    parser.add_argument("--adapter", type=Path, default=Path("runs/quickstart/cold_start/adapter"))
    options = parser.parse_args()
    rates: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for rate in RATES:
            sides = {}
            for side in (True, False) if len(rates) % 2 else (False, True):
                sides[side] = run(Path(folder) / f"{rate}-{side}", rate, options, drafts=side)
            rates[f"{rate:g}"] = [
                {**on, "seconds_without": off["seconds"], "speedup": off["seconds"] / on["seconds"]}
                for on, off in zip(sides[True], sides[False], strict=True)
            ]
    rows = [
        [rate, str(number), f"{each['reused']:.2f}", f"{each['speedup']:.2f} x"]
        for rate, measured in rates.items()
        for number, each in enumerate(measured, 1)
    ]
    harness.table(
        f"rollouts with drafts over those without, {options.rows} prompts x 8 per epoch",
        ["learning rate", "epoch", "share of reused tokens", "speed-up"],
        rows,
    )
    command = ["python", "benchmarks/reuse.py", "--rows", str(options.rows), "--epochs", str(options.epochs)]
    harness.write("reuse", rates, [], {"reuse": command}, rows=options.rows, epochs=options.epochs)


if __name__ == "__main__":
    main()
