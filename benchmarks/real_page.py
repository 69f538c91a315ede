"""The page of a study of real data, written from its results: no number in it is typed by hand.

python benchmarks/real_page.py real     # results/real.json, frontier.json and keep.json → docs/results/real.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness

QUALITY = ("chrf", "semantic_similarity", "language_consistency")
PAIRS = {("strong_sft", "semantic_grpo"): "frontier.json", ("strong_sft", "keep_sft"): "keep.json"}
"""Comparisons that both worlds have, with the file of the miniature's."""
MINIATURE = {"sft": "strong_sft"}
"""Systems of the miniature's files whose names differ here."""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |\n" for row in lines)


def number(entry: Mapping[str, Any] | None) -> str:
    """Value with its 95 % interval over items."""
    if entry is None:
        return "–"
    value, ci = entry["value"], entry["ci"]
    digits = 3 if abs(value) < 1 else 1
    return f"{value:.{digits}f}" + ("" if ci is None else f" ({ci[0]:.{digits}f} to {ci[1]:.{digits}f})")


def shares(content: Mapping[str, Any], system: str, opponent: str) -> list[list[str]]:
    """Quality and losses of a system and its opponent, by metric, and the share of the opponent's that the system has.

    A loss has a share only if the opponent's value is beyond the base's 95 % interval, and the system loses, too.
    """
    metrics = content["metrics"]
    base, one, other = (metrics[name] for name in ("base", system, opponent))
    quality = content["quality"]
    has, had = one[quality]["value"], other[quality]["value"]
    rows = [[quality, f"{has:.1f}", f"{had:.1f}", f"{has / had:.0%}" if had > 0 else "–"]]
    for metric in content["costs"]:
        has, had = (_loss(each[metric]["value"], base, metric) for each in (one, other))
        noise = max((abs(bound - base[metric]["value"]) for bound in base[metric]["ci"] or ()), default=0.0)
        share = f"{has / had:.0%}" if had > noise and has >= 0 else "–"
        rows.append([f"loss: {metric}", *(f"{each:.{3 if abs(each) < 1 else 1}f}" for each in (has, had)), share])
    return rows


def _loss(value: float, base: Mapping[str, Any], metric: str) -> float:
    from semalign_pl.functional.cost import less_is_better

    return value if less_is_better(metric) else base[metric]["value"] - value


def outcomes(verdicts: Iterable[Mapping[str, Any]], a: str, b: str) -> dict[str, str]:
    """Outcome by cost of a pair over the whole common range of quality: the system that costs less, or none."""
    named = {key: MINIATURE.get(key, key) for verdict in verdicts for key in (verdict["a"], verdict["b"])}
    found = {}
    for verdict in verdicts:
        if (named[verdict["a"]], named[verdict["b"]]) == (a, b) and verdict["quality"] is None:
            outcome = verdict["outcome"]
            found[verdict["metric"]] = {"a": f"{a} costs less", "b": f"{b} costs less"}.get(outcome, outcome)
    return found


def compare_worlds(content: Mapping[str, Any]) -> str:
    """Section on how far the miniature world predicts the real one."""
    rows = []
    for (a, b), file in PAIRS.items():
        path = harness.RESULTS / file
        here = outcomes(content["verdicts"], a, b)
        if not here or not path.is_file():
            continue
        saved = json.loads(path.read_text(encoding="utf-8"))
        there = outcomes(saved["verdicts"] if "verdicts" in saved else saved["controls"], a, b)
        for metric, outcome in there.items():
            rows.append([f"{a}, {b}", "miniature", metric, outcome])
        rows += [[f"{a}, {b}", "real", metric, outcome] for metric, outcome in here.items()]
    if not rows:
        return "This study has no pair of systems that the miniature world's files compare, too.\n"
    return table(["pair", "world", "cost", "outcome over the common range of quality"], rows)


def page(content: Mapping[str, Any]) -> str:
    """Page of a study's results, in Markdown.

    Args:
        content: Content of ``real.json``.
    """
    systems = [name for name in content["metrics"] if name != "base"]
    seeds = content["seeds"]
    of_one = ", seed 0" if seeds > 1 else ""
    names = list(dict.fromkeys(metric for each in content["metrics"].values() for metric in each))
    quality = [metric for metric in QUALITY if metric in names]
    general = [metric for metric in names if metric not in quality]
    sections = [
        "# A real model learns a real language\n",
        f"Written by `python benchmarks/real_page.py` from the results of `{content['command']}`: one small model, "
        f"{seeds} seed(s), {_describe_intervals(seeds)}\n",
        "## What was learnt\n",
        table(["system", *quality], [[n, *(number(content["metrics"][n].get(m)) for m in quality)] for n in systems]),
        _describe_rewards(content, quality),
        "## What it cost in English\n",
        table(["system", *general], [[n, *(number(e.get(m)) for m in general)] for n, e in content["metrics"].items()]),
        "The base has the new tokens with their first rows, which alone change its NLL by its own value.\n"
        if content["metrics"]["base"].get("nll_change_mean", {}).get("value")
        else "",
        "## At equal quality\n",
        "".join(f"- {each}\n" for each in dict.fromkeys(v["sentence"] for v in content["verdicts"] if "sentence" in v)),
    ]
    if {"strong_sft", "keep_sft"} <= {*systems}:
        rows = shares(content, "keep_sft", "strong_sft")
        sections += [
            "## SFT + replay + anchor beside strong SFT\n",
            "Finished adapters, of unequal quality. A loss is the base's value less the system's. No share is given "
            "where strong SFT's loss is within the base's interval.\n",
            table(["metric", "keep_sft", "strong_sft", "share"], rows),
        ]
    if content["rewards"]:
        kinds = list(dict.fromkeys(kind for each in content["rewards"].values() for kind in each))
        rows = [[n, *(f"{each.get(k, float('nan')):.2f}" for k in kinds)] for n, each in content["rewards"].items()]
        sections += [f"## Rewards, mean over the training{of_one}\n", table(["system", *kinds], rows)]
    shown = [content["quality"], *content["costs"]]
    rows = [
        [n, at, *(number(each.get(m)) for m in shown)]
        for n, run in content["points"].items()
        for at, each in run.items()
    ]
    sections += [
        "## The dial\n",
        "Points between the base and the finished adapter: its update times the scale. `end` is 1.\n",
        table(["system", "point", *shown], rows),
        f"## Where it fails{of_one}\n",
        "Shares of the outputs on the test set.\n",
    ]
    kinds = list(next(iter(content["failures"].values())))
    rows = [[n, *(f"{each[kind]:.0%}" for kind in kinds)] for n, each in content["failures"].items()]
    sections += [table(["system", *kinds], rows)]
    sections += ["## The miniature world against this one\n", compare_worlds(content)]
    sections += [f"## Samples{of_one}\n", "Rows spread evenly over the test set, none chosen by hand.\n"]
    for sample in content["samples"]:
        lines = [f"- {key}: {' '.join(text.split()) or '(empty)'}" for key, text in sample.items()]
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


def _describe_intervals(seeds: int) -> str:
    """End of the sentence on the number of seeds: the spread that the intervals include."""
    if seeds == 1:
        return "intervals over items only. One seed does not show how much another training run would differ."
    return (
        "values are means over them. Intervals of values are over items only, and those of differences at equal "
        "quality are over seeds and items."
    )


def _describe_rewards(content: Mapping[str, Any], quality: Sequence[str]) -> str:
    """Sentences on which metrics of quality a reward optimised."""
    seen = {metric: content["optimised"].get(metric) for metric in quality}
    lines = [f"`{metric}` was a reward of {' and '.join(by)}." for metric, by in seen.items() if by]
    free = [f"`{metric}`" for metric, by in seen.items() if not by]
    return " ".join([*lines, f"No reward scored by {', '.join(free)}." if free else ""]).strip() + "\n"


def write_page(content: Mapping[str, Any], file: Path) -> None:
    """Write the page of a study's results.

    Args:
        content: Content of ``real.json``.
        file: File to write.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(content), encoding="utf-8")


if __name__ == "__main__":
    for study in sys.argv[1:]:
        results = json.loads((harness.RESULTS / f"{study}.json").read_text(encoding="utf-8"))
        write_page(results, Path("docs/results") / f"{study}.md")
