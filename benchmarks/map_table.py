"""Results of the map, from the files of its cells alone; see map.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frontier_report import mean
from seed_file import Seed, SeedError
from seed_frontier import measured_points, measured_system

from semalign_pl.frontier.choice import curves_of
from semalign_pl.frontier.resampled import Resampled
from semalign_pl.functional.frontier import Curve, difference_at, reliable_range
from semalign_pl.functional.significance import holm
from semalign_pl.study.systems import BASE, Study

STYLES = (
    "style_variation",
    "style_honorific",
    "style_synonym",
    "style_after_subject",
    "style_after_object",
    "style_witnessed",
)
"""Metrics that only a translation has which the parser reads."""
MEANING = "meaning_accuracy"
"""Metric that is compared at equal loss. Losses are compared at equal quality of the study, which is finer."""
SHOWN = (
    *(MEANING, "parsed", "chrf", "chrf_any_style", "bleu4_any_style"),
    *("cmrc_f1", "nll_change_mean", "kl_mean", "styles_nll_change_mean", "styles_kl_mean"),
)
BUDGET = ("updates", "examples", "sampled_tokens", "seconds")
LEVEL = 0.05
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
    first = {name: next(iter(seeds.values())) for name, seeds in cells.items()}
    names = sorted(cells, key=lambda name: (len(first[name]["condition"]), _order(first[name]["condition"])))
    return {name: dict(sorted(cells[name].items())) for name in names}


def _order(options: Mapping[str, str]) -> tuple[float, ...]:
    return tuple(map(float, options.values()))


def place_of(options: Mapping[str, str]) -> tuple[str, float]:
    """Name of a condition's corpus, and the style of its references.

    >>> place_of({"pairs": "1000", "style": "0.5", "noise": "0.2"})
    ('1,000, noise 0.2', 0.5)
    """
    others = [f", {key} {value}" for key, value in options.items() if key not in ("pairs", "style")]
    return f"{int(options['pairs']):,}{''.join(others)}", float(options["style"])


def seconds_of(content: Seed) -> float:
    """Seconds of a cell's trainings and tests."""
    runs = content["runs"].values()
    return sum(run["seconds"] + run.get("budget", {}).get("seconds", 0.0) for run in runs)


def swap(curve: Curve) -> Curve:
    """Curve with quality as its cost: it is compared at equal loss. Both have their sign changed."""
    return Curve(-curve.cost, -curve.quality)


def differences(
    curves: Mapping[str, Curve], meaning: Mapping[str, Curve], pairs: Sequence[tuple[str, str]], metric: str
) -> list[Row]:
    """Differences of pairs of systems, the second minus the first, at the most that both reach.

    Args:
        curves: Quality and one cost, by system.
        meaning: Accuracy of meaning and the same cost, by system.
        pairs: Pairs of systems.
        metric: Name of the cost.

    Returns:
        Two rows per pair: ``matched: quality`` has the difference of the cost at the largest quality that both reach,
        ``matched: cost`` that of meaning at the largest cost that both reach, ``at`` being this quality or cost.
        ``value`` is ``None`` if the pair has no common range.
    """
    rows: list[Row] = []
    for a, b in pairs:
        for matched in ("quality", "cost"):
            one, other = (curves[name] if matched == "quality" else swap(meaning[name]) for name in (b, a))
            row: Row = {"a": a, "b": b, "metric": metric, "matched": matched, "value": None, "ci": None, "p": None}
            shared = reliable_range(one, other)
            sign, at = (1, 1) if matched == "quality" else (-1, 0)
            if shared is not None and (found := difference_at(one, other, shared[at])) is not None:
                low, high = found.ci
                row |= {"value": sign * found.value, "ci": sorted((sign * low, sign * high)), "p": found.p}
                row["at"] = sign * shared[at]
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
        resampled = Resampled(base, draws)
        of_quality, of_meaning = (
            curves_of(resampled, measured, quality, frontier.costs) for quality in (frontier.quality, MEANING)
        )
        for metric in frontier.costs:
            curves, meaning = ({name: of[name][metric] for name in systems} for of in (of_quality, of_meaning))
            rows += [{"condition": condition, **row} for row in differences(curves, meaning, frontier.compare, metric)]
        conditions[condition] = {
            "seeds": list(seeds),
            "machines": sorted({one["gpu"] or one["processor"] for content in contents for one in content["machines"]}),
            "options": contents[0]["condition"],
            "encoder": contents[0].get("encoder"),
            "shared_seconds": contents[0].get("shared_seconds", {}),
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
