"""The page of a study of real data, written from its results: no number in it is typed by hand.

python benchmarks/real_page.py     # results/real.json, frontier.json and keep.json → docs/results/real.md
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
    """Share of an opponent's quality and losses that a system has, by metric."""
    metrics = content["metrics"]
    base, one, other = (metrics[name] for name in ("base", system, opponent))
    quality = content["quality"]
    rows = [[quality, f"{one[quality]['value'] / other[quality]['value']:.0%}"]]
    for metric in content["costs"]:
        lost = {name: _loss(each[metric]["value"], base, metric) for name, each in ((system, one), (opponent, other))}
        share = f"{lost[system] / lost[opponent]:.0%}" if lost[opponent] > 0 else "the opponent loses nothing"
        rows.append([f"loss: {metric}", share])
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
    names = list(dict.fromkeys(metric for each in content["metrics"].values() for metric in each))
    quality = [metric for metric in QUALITY if metric in names]
    general = [metric for metric in names if metric not in quality]
    sections = [
        "# A real model learns a real language\n",
        f"Written by `python benchmarks/real_page.py` from the results of `{content['command']}`: one small model, "
        f"{content['seeds']} seed(s), intervals over items only. One seed does not "
        "show how much another training run would differ.\n",
        "## What was learnt\n",
        table(["system", *quality], [[n, *(number(content["metrics"][n].get(m)) for m in quality)] for n in systems]),
        "The encoder behind `semantic_similarity` was trained on the same pairs, and no reward used it.\n",
        "## What it cost in English\n",
        table(["system", *general], [[n, *(number(e.get(m)) for m in general)] for n, e in content["metrics"].items()]),
        "## At equal quality\n",
        "".join(f"- {verdict['sentence']}\n" for verdict in content["verdicts"] if "sentence" in verdict),
    ]
    if {"strong_sft", "keep_sft"} <= {*systems}:
        rows = shares(content, "keep_sft", "strong_sft")
        sections += ["## SFT + replay + anchor, as shares of strong SFT\n", table(["of", "share"], rows)]
    if content["rewards"]:
        kinds = list(dict.fromkeys(kind for each in content["rewards"].values() for kind in each))
        rows = [[n, *(f"{each.get(k, float('nan')):.2f}" for k in kinds)] for n, each in content["rewards"].items()]
        sections += ["## Rewards, mean over the training\n", table(["system", *kinds], rows)]
    sections += ["## The miniature world against this one\n", compare_worlds(content)]
    sections += ["## Samples\n", "Rows spread evenly over the test set, none chosen by hand.\n"]
    for sample in content["samples"]:
        lines = [f"- {key}: {' '.join(text.split()) or '(empty)'}" for key, text in sample.items()]
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


def write_page(content: Mapping[str, Any], file: Path) -> None:
    """Write the page of a study's results.

    Args:
        content: Content of ``real.json``.
        file: File to write.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page(content), encoding="utf-8")


if __name__ == "__main__":
    write_page(json.loads((harness.RESULTS / "real.json").read_text(encoding="utf-8")), Path("docs/results/real.md"))
