"""Can the language be learned at a few percent of SFT's price? Replay and anchor in every stage, and what earns it.

python benchmarks/keep.py --seeds 5   # writes results/keep.json; finished steps are not redone

The opponent is the best SFT without them, over learning rates and epochs. Everything is chosen on the validation data
of seed 0: the opponent by chrF; the scale of each candidate, and the recipe among the candidates, as the point with the
largest chrF among those whose losses are within the goal's shares of the opponent's (or, if there are none, with the
smallest of the largest shares). Shares are on the test set.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness
from frontier_study import mean
from study_points import budget, loss, points, value

QUALITY = ("chrf", "semantic_similarity")
MOST = {"cmrc_f1": 0.08, "nll_change_mean": 0.05, "time_f1": 0.10}
"""Shares of the opponent's losses that the goal allows; no replay or anchor text touches the ability of time_f1."""
ALSO = ("copy_f1", "kl_mean")
CANDIDATES = ("keep_sft", "keep_grpo")


def tax_shares(base: Path, tested: Path, opponent: Path, metrics: Sequence[str]) -> dict[str, float]:
    """Share of the opponent's losses that a point has, by metric."""
    return {metric: loss(base, tested, metric) / loss(base, opponent, metric) for metric in metrics}


def choose(out: Path, study: dict[str, Any]) -> tuple[str, dict[str, str], str]:
    """Opponent, point of each candidate, and candidate, by the validation data of seed 0.

    Returns:
        Name of the opponent's folder, name of the point by candidate, and name of the best candidate.
    """
    root = out / "validation" / "seed-0"
    opponent = max(study["choice"]["sweeps"]["sft"], key=lambda name: value(root / name, "chrf"))
    chosen: dict[str, str] = {}
    ranks: dict[str, tuple[int, float]] = {}  # the smallest is the best
    for system in CANDIDATES:
        found = points(root / study["choice"]["chosen"][system])
        excess: dict[str, float] = {}
        for name, folder in found.items():
            shares = tax_shares(root / "base", folder, root / opponent, [*MOST])
            excess[name] = max(shares[metric] - most for metric, most in MOST.items())
        ranked = {n: (0, -value(f, "chrf")) if excess[n] <= 0 else (1, excess[n]) for n, f in found.items()}
        chosen[system] = min(ranked, key=ranked.__getitem__)
        ranks[system] = ranked[chosen[system]]
    return opponent, chosen, min(ranks, key=ranks.__getitem__)


def of_seed(root: Path, base: Path, tested: Path, opponent: Path) -> dict[str, Any]:
    """Shares of quality and losses of one seed, and whether the goal is reached."""
    quality = {metric: value(tested, metric) / value(opponent, metric) for metric in QUALITY}
    taxes = tax_shares(base, tested, opponent, [*MOST, *ALSO])
    reached = min(quality.values()) >= 1 and all(taxes[metric] <= most for metric, most in MOST.items())
    metrics = {name: {m: value(folder, m) for m in (*QUALITY, *MOST, *ALSO)} for name, folder in
               (("recipe", tested), ("sft", opponent))}  # fmt: skip
    return {"seed": root.name, "quality_share": quality, "tax_share": taxes, "reached": reached, "metrics": metrics}


def main() -> None:
    """Run the steps that are not done yet, print the shares and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--config", type=Path, default=Path("configs/keep"))
    parser.add_argument("--out", type=Path, default=Path("runs/keep"))
    options = parser.parse_args()
    from semalign_pl.report.command import show
    from semalign_pl.study.command import run_study

    run_study(options.config, options.out, options.seeds)
    show(options.out)
    study: dict[str, Any] = json.loads((options.out / "results.json").read_text(encoding="utf-8"))
    opponent, chosen, best_system = choose(options.out, study)
    test_opponent(options.out, options.config, study, opponent, options.seeds)
    base, roots = options.out / "seed-0" / "base", [options.out / f"seed-{seed}" for seed in range(options.seeds)]
    candidates: dict[str, Any] = {}
    for system, point in chosen.items():
        variant = study["choice"]["chosen"][system]
        seeds = [of_seed(root, base, points(root / variant)[point], root / opponent) for root in roots]
        shares = {metric: mean([one["quality_share"][metric] for one in seeds]) for metric in QUALITY}
        candidates[system] = {
            "variant": variant,
            "point": point,
            "quality_share": min(shares.values()),
            "quality_shares": shares,
            "tax_share": {m: mean([one["tax_share"][m] for one in seeds]) for m in (*MOST, *ALSO)},
            "reached": sum(one["reached"] for one in seeds),
            "seeds": seeds,
        }
    best = candidates[best_system]
    budgets = {path.name: budget(path) for path in sorted(roots[0].iterdir()) if (path / "fit.done.json").is_file()}
    rows = [
        [name, one["variant"], one["point"], f"{one['quality_share']:.1%}", f"{one['reached']} of {options.seeds}"]
        + [f"{share:.1%}" for share in one["tax_share"].values()]
        for name, one in candidates.items()
    ]
    harness.table(
        f"shares of {opponent}: at least 100 % of its quality at most at {MOST} of its losses",
        ["recipe", "variant", "point", "quality", "seeds that reach it", *MOST, *ALSO],
        rows,
    )
    columns = ["updates", "examples", "sampled_tokens", "seconds"]
    harness.table(
        "budgets of seed 0", ["run", *columns], [[n, *(f"{b[c]:,.0f}" for c in columns)] for n, b in budgets.items()]
    )
    content = {
        "quality_share": best["quality_share"],
        "tax_share": best["tax_share"],
        "seeds": options.seeds,
        "reached": best["reached"],
        "most": MOST,
        "opponent": opponent,
        "chosen": best_system,
        "candidates": candidates,
        "controls": study["frontier"]["verdicts"],
        "curves": {
            name: {"quality": c["quality"], "costs": c["costs"]} for name, c in study["frontier"]["curves"].items()
        },
        "choice": study["choice"],
        "budgets": budgets,
        "command": f"python benchmarks/keep.py --seeds {options.seeds}",
        "machine": harness.machine(),
    }
    path = harness.RESULTS / "keep.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"written: {path}", file=sys.stderr)


def test_opponent(out: Path, configs: Path, study: dict[str, Any], opponent: str, seeds: int) -> None:
    """Train and test the opponent where the study did not: the study chose its variant by area, not by quality."""
    from semalign_pl.__main__ import main as semalign

    if study["choice"]["chosen"]["sft"] == opponent:
        return
    from semalign_pl.study.systems import read_study

    system = next(one for one in read_study(configs).systems if one.name == opponent)
    for seed in range(seeds):
        root = out / f"seed-{seed}"
        folder = ["--trainer.default_root_dir", str(root / opponent), "--trainer.enable_progress_bar", "false"]
        recipe = ["--config", str(system.config), "--seed_everything", str(seed), *system.flags, *folder]
        for command, adapter in (("fit", root / system.start), ("test", root / opponent)):
            done = root / opponent / ("adapter" if command == "fit" else "results.json")
            if not done.exists() and semalign(
                [command, *recipe, "--model.init_args.adapter", str(adapter / "adapter")]
            ):
                sys.exit(f"{root / opponent}: {command} failed")


if __name__ == "__main__":
    main()
