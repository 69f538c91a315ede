"""Compare strong SFT with semantic GRPO at equal quality, each at the learning rate it likes best of three.

Does semantic RL give the language at a lower price in general ability than SFT?

python benchmarks/frontier_study.py --seeds 5   # writes results/frontier.json and .png; finished steps are not redone

A seed takes 21 minutes on one core: a cold start (57 s), three strong SFTs (50 s each), three semantic GRPOs (205 s
each) and ten points of each of these (65 s). `--seeds 1`, and later `--seeds 5`, continues.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness
from frontier_report import chart, parser_of, write


def main() -> None:
    """Run the steps that are not done yet, print the verdicts and write the results."""
    options = parser_of(__doc__, "frontier").parse_args()
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
    }
    write("frontier", content)


if __name__ == "__main__":
    main()
