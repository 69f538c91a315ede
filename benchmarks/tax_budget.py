"""Compare GRPO with and without a budget for the loss of general ability, over seeds.

Is the budget kept, and what does it cost?

python benchmarks/tax_budget.py --seeds 3   # writes results/tax_budget.json and .png; finished steps are not redone

One set of questions steers the budget. The table also reports the loss on another set, which the run never saw.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness

SYSTEMS = {"without_budget": "without", "with_budget": "with"}
HELD_OUT = ("cmrc_f1", "nll_change_mean", "semantic_similarity", "chrf", "language_consistency")


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    """Optimiser steps and the values of a probe at them."""
    with (folder / "metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row.get(f"probe/{name}")]
    return [(int(row["step"]) + 1, float(row[f"probe/{name}"])) for row in rows]


def of_seed(out: Path, seed: int) -> dict[str, Any]:
    """Results of both runs of a seed: the steered scores by step, and the scores at the end."""
    folder = out / f"seed-{seed}"
    steered = json.loads((folder / "with_budget" / "tax_budget.json").read_text())
    ends = {
        name: json.loads((folder / name / "results.json").read_text())["metrics"] for name in ("cold_start", *SYSTEMS)
    }
    return {
        "seed": seed,
        "budget": steered["budget"],
        "start": steered["start"],
        "kept": steered["kept"],
        "beta": [(entry["step"], entry["beta"]) for entry in steered["history"]],
        "curves": {system: {n: curve(folder / system, n) for n in steered["budget"]} for system in SYSTEMS},
        "change": {
            system: {n: curve(folder / system, n)[-1][1] - steered["start"][n] for n in steered["budget"]}
            for system in SYSTEMS
        },
        "held_out": {system: {n: ends[system][n]["value"] for n in HELD_OUT} for system in ends},
    }


def draw(seeds: list[dict[str, Any]], path: Path) -> None:
    """Change of each budgeted score since the start of the stage, by step, and the KL weight."""
    from semalign_pl.report.figure import COLOURS, QUIET, clean, new_figure, to_png

    budget = seeds[0]["budget"]
    figure = new_figure(9.0, 3.2)
    panels = figure.subplots(1, len(budget) + 1)
    for axes, (name, allowed) in zip(panels, budget.items(), strict=False):
        clean(axes)
        axes.axhline(allowed, color=QUIET, linestyle="--", linewidth=1)
        for colour, (system, title) in zip(COLOURS[1::-1], SYSTEMS.items(), strict=True):
            for i, one in enumerate(seeds):
                points = [(0, 0.0), *((s, value - one["start"][name]) for s, value in one["curves"][system][name])]
                axes.plot(*zip(*points, strict=True), color=colour, linewidth=1, label=None if i else title)
        axes.set_title(f"{name}: change (dashed: allowed)", fontsize=8)
        axes.set_xlabel("step", fontsize=8)
        axes.legend(fontsize=7, frameon=False)
    clean(panels[-1])
    for one in seeds:
        panels[-1].plot(*zip(*one["beta"], strict=True), color=COLOURS[0], linewidth=1)
    panels[-1].set_yscale("log")
    panels[-1].set_title("KL weight beta, with the budget", fontsize=8)
    panels[-1].set_xlabel("step", fontsize=8)
    path.write_bytes(to_png(figure))


def number(values: list[float], signed: bool = True) -> str:
    """Mean and standard deviation over seeds."""
    sd = f" ±{statistics.stdev(values):.3g}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{'+' if signed else ''}.3g}{sd}"


def main() -> None:
    """Run the steps that are not done yet, print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--config", type=Path, default=Path("configs/tax_budget"))
    parser.add_argument("--out", type=Path, default=Path("runs/tax_budget"))
    options = parser.parse_args()
    from semalign_pl.report import load_results
    from semalign_pl.study.command import run_study

    run_study(options.config, options.out, options.seeds)
    seeds = [of_seed(options.out, seed) for seed in range(options.seeds)]
    budget = seeds[0]["budget"]
    rows = []
    for system, title in SYSTEMS.items():
        row = [title]
        row += [number([one["change"][system][name] for one in seeds]) for name in budget]
        for name in HELD_OUT:
            changes = [one["held_out"][system][name] - one["held_out"]["cold_start"][name] for one in seeds]
            row.append(number(changes))
        rows.append(row)
    steered = [f"{name} (allowed {allowed:+g})" for name, allowed in budget.items()]
    lines = [["budget", *steered, *(f"held out: {name}" for name in HELD_OUT)]]
    lines.append(["---", *["--:"] * (len(lines[0]) - 1)])
    print("Change since the cold start, mean ± standard deviation over seeds:\n")
    print("\n".join(f"| {' | '.join(line)} |" for line in [*lines, *rows]))
    kept = sum(one["kept"] for one in seeds)
    over = sum(any(one["change"]["without_budget"][n] / allowed > 1 for n, allowed in budget.items()) for one in seeds)
    summary = (
        f"With the budget {kept} of {len(seeds)} runs ended within it; without, {over} of {len(seeds)} ended beyond it."
    )
    print(f"\n{summary}")
    draw(seeds, harness.RESULTS / "tax_budget.png")
    commands = {"study": load_results(options.out / "results.json")["run"]["command"]}
    harness.write("tax_budget", {"said": summary, "columns": lines[0], "rows": rows}, seeds, commands)


if __name__ == "__main__":
    main()
