"""Reproduce the papers' reward ablation on the miniature world, and compare it with the papers' figures.

It also measures a reward without references.

python benchmarks/ablation.py --seeds 3   # writes results/ablation.json and ablation.png; finished steps are not redone
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TypedDict

sys.path.insert(0, str(Path(__file__).parent))
import harness

METHOD, SOURCE, UNGATED = "embedding_language", "source_gate", "source_language"
PAPERS = {
    METHOD: 0.7164,
    "bleu_language": 0.6375,
    "bleu_embedding_language": 0.6175,
    "bleu_embedding": 0.2312,
    SOURCE: 0.7011,
}
"""Semantic similarity on Qwen3-4B: from arXiv 2605.14366; that of the gated source anchor from arXiv 2605.29502."""
METRICS = ("semantic_similarity", "bleu4", "chrf", "language_consistency", "cmrc_f1", "nll_change_mean")
WITHIN = 0.05
"""Largest difference in similarity at which the source anchor counts as equal to the reference anchor."""


class Spread(TypedDict):
    """Mean, standard deviation (``None`` for one seed) and values over seeds."""

    mean: float
    sd: float | None
    seeds: list[float]


def spread(values: list[float]) -> Spread:
    """Mean and standard deviation (n - 1) over seeds, and the values of the seeds."""
    import statistics

    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": sd, "seeds": values}


def differences(rows: dict[str, dict[str, Spread]]) -> dict[str, Spread]:
    """Difference in similarity of each trained system to the method, per seed, as both share the seed's cold start."""
    method = rows[METHOD]["semantic_similarity"]["seeds"]
    return {
        name: spread([a - b for a, b in zip(row["semantic_similarity"]["seeds"], method, strict=True)])
        for name, row in rows.items()
        if name not in (METHOD, "base")
    }


def describe(rows: dict[str, dict[str, Spread]], apart: dict[str, Spread], titles: dict[str, str]) -> list[str]:
    """Results as sentences."""
    ablation = [name for name in PAPERS if name != SOURCE]
    here = sorted(ablation, key=lambda name: rows[name]["semantic_similarity"]["mean"], reverse=True)
    same = "the paper's order" if here == ablation else "not the paper's order"
    order = " > ".join(f"{titles[name]} {rows[name]['semantic_similarity']['mean']:.3f}" for name in here)
    gap, seeds = apart[SOURCE], len(apart[SOURCE]["seeds"])
    verdict = "within" if abs(gap["mean"]) <= WITHIN else "not within"
    below = [f"{titles[n]} in {sum(d < 0 for d in apart[n]['seeds'])}" for n in ablation if n != METHOD]
    ungated = rows[UNGATED]
    return [
        f"By similarity: {order}; {same}. Below {titles[METHOD]}: {', '.join(below)} of {seeds} seeds.",
        f"Source anchor with its gate minus reference anchor: {_number(gap, 3, signed=True)}, {verdict} {WITHIN} "
        f"(the paper's: {PAPERS[SOURCE] - PAPERS[METHOD]:+.3f}).",
        f"Source anchor without a gate: language consistency {_number(ungated['language_consistency'], 3)}, chrF "
        f"{_number(ungated['chrf'], 1)}; to copy the source has a cosine of 1 to it.",
    ]


def _number(value: Spread, digits: int, signed: bool = False) -> str:
    sd = "" if value["sd"] is None else f" ±{value['sd']:.{digits}f}"
    return f"{value['mean']:{'+' if signed else ''}.{digits}f}{sd}"


def main() -> None:
    """Run the steps that are not done yet, print the table and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--config", type=Path, default=Path("configs/ablation"))
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    options = parser.parse_args()
    from semalign_pl.report import load_results, quality_against_tax
    from semalign_pl.report.command import show
    from semalign_pl.report.results import column_of, parse
    from semalign_pl.study.command import run_study

    run_study(options.config, options.out, options.seeds)
    show(options.out)
    study = load_results(options.out / "results.json")
    titles = {name: parse(study).title_of(name) for name in study["systems"]}
    rows = {
        name: {metric: spread(body["metrics"][metric]["seeds"]) for metric in METRICS}
        for name, body in study["systems"].items()
    }
    apart = differences(rows)
    columns = [column_of(name) for name in METRICS]
    lines = [["reward", "papers' similarity", "minus the method's", *(column.heading for column in columns)]]
    lines.append(["---", *["--:"] * (len(lines[0]) - 1)])
    for name, row in rows.items():
        papers = f"{PAPERS[name]:.4f}" if name in PAPERS else ""
        gap = _number(apart[name], 3, signed=True) if name in apart else ""
        shown = [_number(row[column.name], column.digits, column.signed) for column in columns]
        lines.append([titles[name], papers, gap, *shown])
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))
    words = describe(rows, apart, titles)
    print("", *words, sep="\n")
    quality_against_tax(study, harness.RESULTS / "ablation.png")
    harness.write(
        "ablation",
        ratios={"similarity_minus_method": apart, "papers": PAPERS},
        runs=[{"system": name, "title": titles[name], **row} for name, row in rows.items()],
        commands={"study": study["run"]["command"]},
        said=words,
        seconds=study["run"]["seconds"],
    )


if __name__ == "__main__":
    main()
