"""Can the language be learned at a few percent of SFT's price? Replay and anchor in every stage, and what earns it.

python benchmarks/keep.py --seeds 5   # writes results/keep.json and docs/results/keep.png
python benchmarks/keep.py --only-seeds 2,3   # on another machine: only these; seed 0 has to be kept already

What a seed measured is kept in results/keep/seed_N.json, as in ladder.py. The opponent is the best SFT without replay
and anchor, over learning rates and epochs. Everything is chosen on the validation data of seed 0: the opponent by chrF;
the scale of each candidate, and the recipe among the candidates, as the point with the largest chrF among those whose
losses are within the goal's shares of the opponent's (or, if there are none, with the smallest of the largest shares).
Shares are on the test set.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness
from frontier_report import chart, mean, parse_seeds, parser_of, print_seconds, write
from study_points import loss

QUALITY = ("chrf", "semantic_similarity")
MOST = {"cmrc_f1": 0.08, "nll_change_mean": 0.05, "time_f1": 0.10}
"""Shares of the opponent's losses that the goal allows; no replay or anchor text touches the ability of time_f1."""
ALSO = ("copy_f1", "kl_mean")
SHOWN = (*QUALITY, *MOST, *ALSO)
CANDIDATES = ("keep_sft", "keep_grpo")
DRAWN = {
    "sft": "SFT",
    "keep_sft": "SFT + replay + anchor",
    "without_replay": "SFT + anchor",
    "without_anchor": "SFT + replay",
    "keep_grpo": "the same, shorter, then GRPO",
}
"""Systems in the picture. Left out are the cold start, and those with nearly the curve of keep_sft or keep_grpo."""
AXES = {
    "cmrc_f1": "CMRC F1 lost: questions as replayed",
    "nll_change_mean": "NLL change on general text",
    "time_f1": "F1 lost: questions never replayed",
}
Point = Mapping[str, float]
"""Value by metric."""


def tax_shares(base: Point, tested: Point, opponent: Point, metrics: Sequence[str]) -> dict[str, float]:
    """Share of the opponent's losses that a point has, by metric; infinite for a loss where the opponent has none."""
    pairs = {metric: (loss(base, tested, metric), loss(base, opponent, metric)) for metric in metrics}
    return {
        metric: own / other if other > 0 else math.inf if own > 0 else 0.0 for metric, (own, other) in pairs.items()
    }


def opponent_of(first: Mapping[str, Any]) -> str:
    """Variant of SFT with the largest chrF on the validation data of seed 0; the study chooses by area."""
    tested = first["validation"]
    return max(first["choice"]["sweeps"]["sft"], key=lambda name: tested[name]["points"]["end"]["chrf"])


def choose(first: Mapping[str, Any], opponent: str) -> tuple[dict[str, str], str]:
    """Point of each candidate, and candidate, by the validation data of seed 0.

    Args:
        first: Content of the file of seed 0.
        opponent: Name of the opponent.

    Returns:
        Name of the point by candidate, and name of the best candidate.
    """
    tested = first["validation"]
    base, against = (tested[name]["points"]["end"] for name in ("base", opponent))
    chosen: dict[str, str] = {}
    ranks: dict[str, tuple[int, float]] = {}  # the smallest is the best
    for system in CANDIDATES:
        found: Mapping[str, Point] = tested[first["choice"]["chosen"][system]]["points"]
        excess: dict[str, float] = {}
        for name, values in found.items():
            shares = tax_shares(base, values, against, [*MOST])
            excess[name] = max(shares[metric] - most for metric, most in MOST.items())
        ranked = {n: (0, -values["chrf"]) if excess[n] <= 0 else (1, excess[n]) for n, values in found.items()}
        chosen[system] = min(ranked, key=ranked.__getitem__)
        ranks[system] = ranked[chosen[system]]
    return chosen, min(ranks, key=ranks.__getitem__)


def of_seed(seed: int, base: Point, tested: Point, opponent: Point) -> dict[str, Any]:
    """Shares of quality and losses of one seed, and whether the goal is reached."""
    quality = {metric: tested[metric] / opponent[metric] for metric in QUALITY}
    taxes = tax_shares(base, tested, opponent, [*MOST, *ALSO])
    reached = min(quality.values()) >= 1 and all(taxes[metric] <= most for metric, most in MOST.items())
    metrics = {"recipe": {m: tested[m] for m in SHOWN}, "sft": {m: opponent[m] for m in SHOWN}}
    return {"seed": seed, "quality_share": quality, "tax_share": taxes, "reached": reached, "metrics": metrics}


def main() -> None:
    """Measure the seeds that are not kept yet, print the shares over all kept ones and write the results."""
    options = parse_seeds(parser_of(__doc__, "keep"))
    from seed_frontier import compare_seeds
    from seed_runs import Plan, measure_seeds

    from semalign_pl.study.study_file import read_study

    study = read_study(options.config)
    plan = Plan(study, options.config, options.out, harness.RESULTS / "keep", SHOWN, opponent_of)
    seeds = measure_seeds(plan, options.run)
    frontier, _ = compare_seeds(study, seeds)
    chart(frontier, DRAWN, Path("docs/results/keep.png"), AXES)
    first = seeds[0]
    opponent = opponent_of(first)
    chosen, best_system = choose(first, opponent)
    candidates: dict[str, Any] = {}
    for system, point in chosen.items():
        variant = first["choice"]["chosen"][system]
        rows = []
        for seed, content in seeds.items():
            base, tested, against = (content["runs"][name]["points"] for name in ("base", variant, opponent))
            rows.append(of_seed(seed, base["end"], tested[point], against["end"]))
        shares = {metric: mean([one["quality_share"][metric] for one in rows]) for metric in QUALITY}
        candidates[system] = {
            "variant": variant,
            "point": point,
            "quality_share": min(shares.values()),
            "quality_shares": shares,
            "tax_share": {m: mean([one["tax_share"][m] for one in rows]) for m in (*MOST, *ALSO)},
            "reached": sum(one["reached"] for one in rows),
            "seeds": rows,
        }
    best = candidates[best_system]
    runs = {**first["runs"], **first["validation"]}
    budgets = {name: run["budget"] for name, run in sorted(runs.items()) if "budget" in run}
    harness.table(
        f"shares of {opponent}: at least 100 % of its quality at most at {MOST} of its losses",
        ["recipe", "variant", "point", "quality", "seeds that reach it", *MOST, *ALSO],
        [
            [name, one["variant"], one["point"], f"{one['quality_share']:.1%}", f"{one['reached']} of {len(seeds)}"]
            + [f"{share:.1%}" for share in one["tax_share"].values()]
            for name, one in candidates.items()
        ],
    )
    columns = ["updates", "examples", "sampled_tokens", "seconds"]
    harness.table(
        "budgets of seed 0", ["run", *columns], [[n, *(f"{b[c]:,.0f}" for c in columns)] for n, b in budgets.items()]
    )
    print_seconds(seeds)
    print("\n".join(verdict["sentence"] for verdict in frontier["verdicts"]))
    content = {
        "quality_share": best["quality_share"],
        "tax_share": best["tax_share"],
        "seeds": len(seeds),
        "reached": best["reached"],
        "most": MOST,
        "opponent": opponent,
        "chosen": best_system,
        "candidates": candidates,
        "controls": frontier["verdicts"],
        "curves": {name: {"quality": c["quality"], "costs": c["costs"]} for name, c in frontier["curves"].items()},
        "choice": first["choice"],
        "budgets": budgets,
        "command": f"python benchmarks/keep.py --only-seeds {','.join(map(str, seeds))}",
    }
    write("keep", content)


if __name__ == "__main__":
    from seed_file import SeedError

    try:
        main()
    except SeedError as error:
        sys.exit(str(error))
