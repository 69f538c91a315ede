"""Table and picture of the map, from the files of its cells alone; see map.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import harness
from frontier_report import mean, write
from seed_file import Seed, SeedError
from seed_frontier import measured_points, measured_system

from semalign_pl.files.atomic import write_text
from semalign_pl.frontier.choice import curves_of
from semalign_pl.frontier.resampled import Resampled
from semalign_pl.functional.frontier import Curve, mean_difference
from semalign_pl.functional.significance import holm
from semalign_pl.study.systems import BASE, Study, read_study

STYLES = (
    "style_variation",
    "style_honorific",
    "style_synonym",
    "style_after_subject",
    "style_after_object",
    "style_witnessed",
)
"""Metrics that only a translation has which the parser reads."""
SHOWN = (
    *("meaning_accuracy", "parsed", "chrf", "chrf_any_style", "bleu4_any_style"),
    *("cmrc_f1", "nll_change_mean", "kl_mean", "styles_nll_change_mean", "styles_kl_mean"),
)
BUDGET = ("updates", "examples", "sampled_tokens", "seconds")
LEVEL = 0.05
PAGE = Path("docs/results/map.md")
Row = dict[str, Any]
Cells = Mapping[str, Mapping[int, Seed]]
"""Content of the files by condition and seed."""


def read_cells(folder: Path) -> dict[str, dict[int, Seed]]:
    """Cells that were measured to the end, by condition and seed.

    Args:
        folder: Folder with ``CONDITION/seed_N.json``.

    Raises:
        SeedError: If the seeds of a condition were measured with different recipes, data or versions.
    """
    cells: dict[str, dict[int, Seed]] = {}
    for path in sorted(folder.glob("*/seed_*.json")):
        content: Seed = json.loads(path.read_text(encoding="utf-8"))
        if content.get("complete"):
            cells.setdefault(path.parent.name, {})[content["seed"]] = content
    for name, seeds in cells.items():
        if len(digests := {one["digest"] for one in seeds.values()}) > 1:
            raise SeedError(f"{folder / name}: seeds have the digests {', '.join(sorted(digests))}; measure them alike")
    return {name: dict(sorted(seeds.items())) for name, seeds in cells.items()}


def seconds_of(content: Seed) -> float:
    """Seconds of a cell's trainings and tests."""
    runs = content["runs"].values()
    return sum(run["seconds"] + run.get("budget", {}).get("seconds", 0.0) for run in runs)


def swap(curve: Curve) -> Curve:
    """Curve with quality as its cost: it is compared at equal loss. Both have their sign changed."""
    return Curve(-curve.cost, -curve.quality)


def differences(curves: Mapping[str, Curve], pairs: Sequence[tuple[str, str]], metric: str) -> list[Row]:
    """Differences of pairs of systems, the second minus the first, averaged over what both reach.

    Args:
        curves: Quality and one cost, by system.
        pairs: Pairs of systems.
        metric: Name of the cost.

    Returns:
        Two rows per pair: ``matched: quality`` has the difference of the cost, ``matched: cost`` that of quality.
        ``value`` is ``None`` if the pair has no common range.
    """
    rows: list[Row] = []
    for a, b in pairs:
        for matched in ("quality", "cost"):
            one, other = (curves[name] if matched == "quality" else swap(curves[name]) for name in (b, a))
            found = mean_difference(one, other)
            row: Row = {"a": a, "b": b, "metric": metric, "matched": matched, "value": None, "ci": None, "p": None}
            if found is not None:
                low, high = found.ci
                sign = 1 if matched == "quality" else -1
                row |= {"value": sign * found.value, "ci": sorted((sign * low, sign * high)), "p": found.p}
            rows.append(row)
    return rows


def with_verdicts(rows: Sequence[Row]) -> list[Row]:
    """Rows with ``p_holm``, corrected over all of them, and ``better``: the better system, or ``None``."""
    corrected = iter(holm([row["p"] for row in rows if row["p"] is not None]))
    rated = []
    for row in rows:
        p_holm = None if row["p"] is None else next(corrected)
        better = None
        if p_holm is not None and p_holm <= LEVEL and row["value"]:
            better = row["b"] if (row["value"] > 0) == (row["matched"] == "cost") else row["a"]
        rated.append({**row, "p_holm": p_holm, "better": better})
    return rated


def collect(cells: Cells, study: Study, draws: int = 1000) -> dict[str, Any]:
    """Results of the map: points and budgets of each system, and the differences at matched quality and matched cost.

    Args:
        cells: Content of the files by condition and seed.
        study: Study, for its quality, costs and pairs.
        draws: Number of resamples of the test items.
    """
    frontier = study.frontier
    assert frontier is not None and frontier.quality is not None
    systems = list(dict.fromkeys(name for pair in frontier.compare for name in pair))
    rows: list[Row] = []
    conditions: dict[str, Any] = {}
    for condition, seeds in cells.items():
        contents = list(seeds.values())
        (base,) = measured_points(contents[0], BASE)
        measured = {name: measured_system(seeds, name) for name in systems}
        curves = curves_of(Resampled(base, draws), measured, frontier.quality, frontier.costs)
        for metric in frontier.costs:
            of_metric = {name: curves[name][metric] for name in systems}
            rows += [{"condition": condition, **row} for row in differences(of_metric, frontier.compare, metric)]
        conditions[condition] = {
            "seeds": list(seeds),
            "options": contents[0]["condition"],
            "base": contents[0]["runs"][BASE]["points"]["end"],
            "systems": {name: _describe([one["runs"][name] for one in contents]) for name in systems},
            "seconds": [seconds_of(one) for one in contents],
        }
    return {"conditions": conditions, "differences": with_verdicts(rows)}


def _describe(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean over seeds of the values of each point and of the budget."""
    points = {
        point: {
            metric: mean([run["points"][point][metric] for run in runs])
            for metric in (*SHOWN, *STYLES)
            if all(metric in run["points"][point] for run in runs)
        }
        for point in runs[0]["points"]
    }
    return {"points": points, "budget": {key: mean([run["budget"][key] for run in runs]) for key in BUDGET}}


def summary(content: Mapping[str, Any], rl: Sequence[str]) -> str:
    """Sentence that says where RL wins at matched quality, or that no such condition was found, with the power.

    Args:
        content: Result of `collect`.
        rl: Systems with GRPO's rollouts.
    """
    rows = [row for row in content["differences"] if row["matched"] == "quality" and row["value"] is not None]
    wins = sorted({row["condition"] for row in rows if row["better"] in rl and row["a"] not in rl})
    if wins:
        return f"RL costs less at equal quality in {len(wins)} of {len(content['conditions'])} conditions: " + (
            f"{', '.join(wins)}."
        )
    if not rows:
        return "No two systems reach a common quality in any measured condition."
    halves = sorted((row["ci"][1] - row["ci"][0]) / 2 for row in rows if row["metric"] == "cmrc_f1")
    power = f" Half of the intervals of CMRC F1 are narrower than ±{halves[len(halves) // 2]:.1f}." if halves else ""
    return f"No condition was found where RL costs less at equal quality, in {len(content['conditions'])}.{power}"


def markdown(content: Mapping[str, Any], study: Study) -> str:
    """Page of the results: summary and decision table, one row per condition and pair.

    Args:
        content: Result of `collect`.
        study: Study, for the titles of systems.
    """
    titles = {one.key: one.label or one.key for one in study.systems}
    lines = [
        "# When is semantic RL worth its cost?",
        "",
        f"<!-- written by `python benchmarks/map.py --collect` from {len(content['conditions'])} conditions -->",
        summary(content, ["semantic_grpo", "grpo_anchor", "source_only", "best_of_group"]),
        "",
        "Differences are the second system minus the first, with 95 % intervals over seeds and test items: of the loss",
        "of CMRC F1 at equal meaning accuracy (below 0, the second loses less), and of meaning accuracy at equal loss",
        "(above 0, the second translates better). The last column names the system that is better in both or in one,",
        "after Holm's correction over the whole map.",
        "",
        "| condition | seeds | first | second | CMRC F1 lost, equal quality | meaning (%), equal loss | better |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [row for row in content["differences"] if row["metric"] == "cmrc_f1"]
    for cost, quality in zip(rows[::2], rows[1::2], strict=True):
        better = {row["better"] for row in (cost, quality)} - {None}
        seeds = len(content["conditions"][cost["condition"]]["seeds"])
        named = titles[better.pop()] if len(better) == 1 else ("they disagree" if better else "–")
        cells = [cost["condition"], str(seeds), titles[cost["a"]], titles[cost["b"]], _interval(cost)]
        lines.append("| " + " | ".join([*cells, _interval(quality, 100), named]) + " |")
    return "\n".join(lines) + "\n"


def _interval(row: Row, factor: float = 1.0) -> str:
    if row["value"] is None:
        return "no common range"
    value, low, high = (factor * number for number in (row["value"], *row["ci"]))
    return f"{value:+.1f} ({low:+.1f} to {high:+.1f})"


def chart(content: Mapping[str, Any], study: Study, path: Path) -> None:
    """One page of small multiples: meaning accuracy against CMRC F1 lost, a panel per condition, a line per system."""
    from semalign_pl.report.figure import COLOURS, clean, new_figure, to_png

    titles = {one.key: one.label or one.key for one in study.systems}
    columns = min(3, len(content["conditions"]))
    rows = -(-len(content["conditions"]) // columns)
    figure = new_figure(3.2 * columns + 1.8, 2.6 * rows)
    panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel()
    for axes, (name, condition) in zip(panels, content["conditions"].items(), strict=False):
        clean(axes)
        axes.set_title(name, fontsize=8)
        for number, (system, one) in enumerate(condition["systems"].items()):
            points = [*one["points"].values(), condition["base"]]
            lost = [condition["base"]["cmrc_f1"] - point["cmrc_f1"] for point in points]
            axes.plot(
                [point["meaning_accuracy"] for point in points], lost, marker="o", markersize=3,
                color=COLOURS[number % len(COLOURS)], label=titles[system],
            )  # fmt: skip
    figure.supxlabel("meaning accuracy", fontsize=8)
    figure.supylabel("CMRC F1 lost", fontsize=8)
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=7, frameon=False, loc="outside right center")
    path.write_bytes(to_png(figure))


def write_results(cells: Cells, configs: Path) -> None:
    """Write results/map.json, the picture and the page of the docs.

    Args:
        cells: Content of the files by condition and seed.
        configs: Folder of the recipes.

    Raises:
        SeedError: If no cell was measured to the end.
    """
    if not cells:
        raise SeedError(f"{harness.RESULTS / 'map'}: no cell is measured to the end; run one, such as --only NAME:0")
    study = read_study(configs)
    content = collect(cells, study)
    chart(content, study, harness.RESULTS / "map.png")
    PAGE.parent.mkdir(exist_ok=True)
    write_text(PAGE, markdown(content, study))
    print(markdown(content, study))
    write("map", {**content, "command": "python benchmarks/map.py --seeds 3"})
