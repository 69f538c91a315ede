"""Compare methods against forgetting at equal quality, from one start, each at the best of three learning rates.

python benchmarks/ladder.py --seeds 5   # writes results/ladder.json and .png; finished steps are not redone

Seed 0 trains each system at three learning rates and chooses on rows and questions that no test has; further seeds
train the chosen rates only. `--seeds 1`, and later `--seeds 5`, continues. Budgets are printed beside each system.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness
from frontier_study import chart, mean
from study_points import budget, loss, points, value

DIAL = {"cmrc_f1": 10.0, "nll_change_mean": 0.05}
"""Budget of the row SFT + dial, as in benchmarks/dial.py."""
SHOWN = ("chrf", "semantic_similarity", "cmrc_f1", "time_f1", "copy_f1", "nll_change_mean", "kl_mean")


def dial_sft(out: Path, variant: str, seeds: int) -> dict[str, Any]:
    """Largest scale of a variant within the budget on the validation data of seed 0, tested by all seeds."""
    validation = out / "validation" / "seed-0"
    within = [
        name
        for name, folder in points(validation / variant).items()
        if all(loss(validation / "base", folder, metric) <= most for metric, most in DIAL.items())
    ]
    scales = {"end": 1.0} | {name: float(name.split("-")[1]) for name in within if name != "end"}
    if not within:
        return {"budget": DIAL, "point": None}
    chosen = max(within, key=scales.__getitem__)
    folders = [points(out / f"seed-{seed}" / variant)[chosen] for seed in range(seeds)]
    return {"budget": DIAL, "point": chosen, "metrics": {m: [value(f, m) for f in folders] for m in SHOWN}}


def main() -> None:
    """Run the steps that are not done yet, print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--config", type=Path, default=Path("configs/ladder"))
    parser.add_argument("--out", type=Path, default=Path("runs/ladder"))
    options = parser.parse_args()
    from semalign_pl.report.command import show
    from semalign_pl.report.results import parse
    from semalign_pl.study.command import run_study

    run_study(options.config, options.out, options.seeds)
    show(options.out)
    study: dict[str, Any] = json.loads((options.out / "results.json").read_text(encoding="utf-8"))
    frontier, parsed = study["frontier"], parse(study)
    titles = {name: parsed.title_of(name) for name in frontier["curves"]}
    chart(frontier, titles, harness.RESULTS / "ladder.png")
    systems: dict[str, Any] = {}
    for name, curve in frontier["curves"].items():
        runs = [options.out / f"seed-{seed}" / curve["variant"] for seed in range(options.seeds)]
        systems[name] = {
            "variant": curve["variant"],
            "metrics": {metric: [value(run, metric) for run in runs] for metric in SHOWN},
            "budget": {key: mean([budget(run)[key] for run in runs]) for key in budget(runs[0])},
            "points": {key: curve[key] for key in ("points", "quality", "costs")},
        }
    dial = dial_sft(options.out, frontier["curves"]["sft"]["variant"], options.seeds)
    budgets = ("updates", "examples", "sampled_tokens", "seconds")
    rows = [
        [
            titles[name],
            each["variant"].partition(".")[2],
            *(f"{statistics.fmean(each['metrics'][metric]):.3g}" for metric in SHOWN),
            *(f"{each['budget'][key]:,.0f}" for key in budgets),
        ]
        for name, each in systems.items()
    ]
    if dial["point"]:
        rows.append(["SFT + dial", dial["point"], *(f"{mean(v):.3g}" for v in dial["metrics"].values()), *["–"] * 4])
    harness.table("finished adapters, mean over seeds", ["system", "chosen", *SHOWN, *budgets], rows)
    content = {
        "systems": systems,
        "sft_dial": dial,
        "verdicts": frontier["verdicts"],
        "hypervolumes": frontier["hypervolumes"],
        "choice": study["choice"],
        "seen_by_rewards": frontier["seen_by_rewards"],
        "seeds": options.seeds,
        "seconds": study["run"]["seconds"],
        "command": f"python benchmarks/ladder.py --seeds {options.seeds}",
        "machine": harness.machine(),
    }
    path = harness.RESULTS / "ladder.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
