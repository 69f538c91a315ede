"""Compare strong SFT with semantic GRPO at equal quality, each at the learning rate it likes best of three.

Does semantic RL give the language at a lower price in general ability than SFT?

python benchmarks/frontier_study.py --seeds 5   # writes results/frontier.json and .png; finished steps are not redone

A seed takes 21 minutes on one core: a cold start (57 s), three strong SFTs (50 s each), three semantic GRPOs (205 s
each) and ten points of each of these (65 s). `--seeds 1`, and later `--seeds 5`, continues.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness


def chart(frontier: Mapping[str, Any], titles: Mapping[str, str], path: Path) -> None:
    """Quality against each cost: all variants of each system, the best one with its points."""
    from semalign_pl.report.figure import COLOURS, clean, new_figure, to_png
    from semalign_pl.report.results import column_of

    figure = new_figure(9.0, 3.6)
    panels = figure.subplots(1, len(frontier["costs"]), squeeze=False)[0]
    for axes, metric in zip(panels, frontier["costs"], strict=True):
        clean(axes)
        for colour, (system, curve) in zip(COLOURS, frontier["curves"].items(), strict=False):
            for variant in frontier["sweeps"].get(system, {}).values():
                axes.plot(*means(variant, metric), color=colour, linewidth=0.7, alpha=0.5)
            axes.plot(*means(curve, metric), color=colour, marker="o", markersize=3, label=titles[system])
        axes.set_xlabel(column_of(frontier["quality"]).title, fontsize=8)
        axes.set_ylabel(f"cost: {column_of(metric).title}", fontsize=8)
        axes.legend(fontsize=7, frameon=False)
    path.write_bytes(to_png(figure))


def means(curve: Mapping[str, Any], metric: str) -> tuple[list[float], list[float]]:
    """Quality and cost of each point of a curve, averaged over seeds."""
    return [mean(seeds) for seeds in curve["quality"]], [mean(seeds) for seeds in curve["costs"][metric]]


def mean(values: list[float]) -> float:
    """Mean of the values of the seeds."""
    return sum(values) / len(values)


def main() -> None:
    """Run the steps that are not done yet, print the verdicts and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--config", type=Path, default=Path("configs/frontier"))
    parser.add_argument("--out", type=Path, default=Path("runs/frontier"))
    options = parser.parse_args()
    from semalign_pl.report.command import show
    from semalign_pl.report.results import parse
    from semalign_pl.study.command import run_study

    run_study(options.config, options.out, options.seeds)
    show(options.out)
    study: dict[str, Any] = json.loads((options.out / "results.json").read_text(encoding="utf-8"))
    frontier, parsed = study["frontier"], parse(study)
    chart(frontier, {name: parsed.title_of(name) for name in frontier["curves"]}, harness.RESULTS / "frontier.png")
    content = {
        "verdicts": frontier["verdicts"],
        "systems": frontier["curves"],
        "hypervolumes": frontier["hypervolumes"],
        "sweep": frontier["sweeps"],
        "quality": frontier["quality"],
        "costs": frontier["costs"],
        "seen_by_rewards": frontier["seen_by_rewards"],
        "seconds": study["run"]["seconds"],
        "command": f"python benchmarks/frontier_study.py --seeds {options.seeds}",
        "machine": harness.machine(),
    }
    path = harness.RESULTS / "frontier.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {path}", file=sys.stderr)


if __name__ == "__main__":
    main()
