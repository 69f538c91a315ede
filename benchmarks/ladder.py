"""Compare methods against forgetting at equal quality, from one start, each at the best of three learning rates.

python benchmarks/ladder.py --seeds 5   # writes results/ladder.json and docs/results/ladder.png
python benchmarks/ladder.py --only-seeds 2,3   # on another machine: only these; seed 0 has to be kept already

Seed 0 trains each system at three learning rates and chooses on rows and questions that no test has; further seeds
train the chosen rates only. What a seed measured is kept in results/ladder/seed_N.json: kept seeds are not run again,
and all of them make the table, whichever machine measured them. Budgets are printed beside each system. An interrupted
seed goes on at the tests that it lacks. On one core of an AMD EPYC without AVX512, beside other work, SFT took 75 to
150 s, GRPO 175 to 500 s and a point about 10 s: three hours for seed 0, and one hour for a further seed.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness
from frontier_report import chart, mean, parse_seeds, parser_of, print_seconds, write
from study_points import loss

DIAL = {"cmrc_f1": 10.0, "nll_change_mean": 0.05}
"""Budget of the row SFT + dial, as in benchmarks/dial.py."""
SHOWN = ("chrf", "semantic_similarity", "cmrc_f1", "time_f1", "copy_f1", "nll_change_mean", "kl_mean")
BUDGETS = ("updates", "examples", "sampled_tokens", "seconds")


def dial_sft(seeds: dict[int, dict[str, Any]], variant: str) -> dict[str, Any]:
    """Largest scale of a variant within the budget on the validation data of seed 0, tested by all seeds."""
    validation = seeds[0]["validation"]
    base = validation["base"]["points"]["end"]
    within = [
        name
        for name, tested in validation[variant]["points"].items()
        if all(loss(base, tested, metric) <= most for metric, most in DIAL.items())
    ]
    scales = {"end": 1.0} | {name: float(name.split("-")[1]) for name in within if name != "end"}
    if not within:
        return {"budget": DIAL, "point": None}
    chosen = max(within, key=scales.__getitem__)
    tests = [content["runs"][variant]["points"][chosen] for content in seeds.values()]
    return {"budget": DIAL, "point": chosen, "metrics": {m: [one[m] for one in tests] for m in SHOWN}}


def main() -> None:
    """Measure the seeds that are not kept yet, print the table of all kept ones and write the results."""
    options = parse_seeds(parser_of(__doc__, "ladder"))
    from seed_frontier import compare_seeds
    from seed_runs import Plan, measure_seeds

    from semalign_pl.study.study_file import read_study

    study = read_study(options.config)
    plan = Plan(study, options.config, options.out, harness.RESULTS / "ladder", SHOWN)
    seeds = measure_seeds(plan, options.run)
    frontier, parsed = compare_seeds(study, seeds)
    titles = {name: parsed.title_of(name) for name in frontier["curves"]}
    chart(frontier, titles, Path("docs/results/ladder.png"))
    systems: dict[str, Any] = {}
    for name, curve in frontier["curves"].items():
        runs = [content["runs"][curve["variant"]] for content in seeds.values()]
        systems[name] = {
            "variant": curve["variant"],
            "metrics": {metric: [run["points"]["end"][metric] for run in runs] for metric in SHOWN},
            "budget": {key: mean([run["budget"][key] for run in runs]) for key in BUDGETS},
            "points": {key: curve[key] for key in ("points", "quality", "costs")},
        }
    dial = dial_sft(seeds, frontier["curves"]["sft"]["variant"])
    rows = [
        [
            titles[name],
            each["variant"].partition(".")[2],
            *(f"{mean(each['metrics'][metric]):.3g}" for metric in SHOWN),
            *(f"{each['budget'][key]:,.0f}" for key in BUDGETS),
        ]
        for name, each in systems.items()
    ]
    if dial["point"]:
        rows.append(["SFT + dial", dial["point"], *(f"{mean(v):.3g}" for v in dial["metrics"].values()), *["–"] * 4])
    title = f"finished adapters, mean over seeds {', '.join(map(str, seeds))}"
    harness.table(title, ["system", "chosen", *SHOWN, *BUDGETS], rows)
    print_seconds(seeds)
    print("\n".join(verdict["sentence"] for verdict in frontier["verdicts"]))
    content = {
        "systems": systems,
        "sft_dial": dial,
        "verdicts": frontier["verdicts"],
        "hypervolumes": frontier["hypervolumes"],
        "choice": seeds[0]["choice"],
        "seen_by_rewards": frontier["seen_by_rewards"],
        "seeds": list(seeds),
        "command": f"python benchmarks/ladder.py --only-seeds {','.join(map(str, seeds))}",
    }
    write("ladder", content)


if __name__ == "__main__":
    from seed_file import SeedError

    try:
        main()
    except SeedError as error:
        sys.exit(str(error))
