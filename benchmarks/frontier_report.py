"""Options, picture and results file that the benchmarks of frontiers share."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import harness


def parser_of(doc: str | None, name: str) -> argparse.ArgumentParser:
    """Parser with the number of seeds, the folder of configs and the folder for results.

    Args:
        doc: Description.
        name: Name of the study, in ``configs`` and ``runs``.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds (default: %(default)s)")
    parser.add_argument("--config", type=Path, default=Path("configs") / name)
    parser.add_argument("--out", type=Path, default=Path("runs") / name)
    return parser


def chart(
    frontier: Mapping[str, Any], titles: Mapping[str, str], path: Path, costs: Mapping[str, str] | None = None
) -> None:
    """Draw quality against each cost: all variants of each system, the best one with its points.

    Args:
        frontier: Entry ``frontier`` of a study's results.
        titles: Title by system; those without one are not drawn.
        path: File to write.
        costs: Name of an axis by cost; by default, that of the metric.
    """
    from semalign_pl.report.figure import COLOURS, clean, new_figure, to_png
    from semalign_pl.report.results import column_of

    figure = new_figure(9.0, 3.6)
    panels = figure.subplots(1, len(frontier["costs"]), squeeze=False)[0]
    for axes, metric in zip(panels, frontier["costs"], strict=True):
        clean(axes)
        drawn = {system: curve for system, curve in frontier["curves"].items() if system in titles}
        for number, (system, curve) in enumerate(drawn.items()):
            # A second round of the colours has dashes, and a third dots: no system is left out.
            colour, line = COLOURS[number % len(COLOURS)], ("-", "--", ":")[number // len(COLOURS) % 3]
            for variant in frontier["sweeps"].get(system, {}).values():
                axes.plot(*_means(variant, metric), line, color=colour, linewidth=0.7, alpha=0.5)
            axes.plot(*_means(curve, metric), line, color=colour, marker="o", markersize=3, label=titles[system])
        axes.set_xlabel(column_of(frontier["quality"]).title, fontsize=8)
        axes.set_ylabel((costs or {}).get(metric, f"cost: {column_of(metric).title}"), fontsize=8)
    named = panels[0].get_legend_handles_labels()
    figure.legend(*named, fontsize=7, frameon=False, loc="outside right center")
    path.write_bytes(to_png(figure))


def _means(curve: Mapping[str, Any], metric: str) -> tuple[list[float], list[float]]:
    """Quality and cost of each point of a curve, averaged over seeds."""
    return [mean(seeds) for seeds in curve["quality"]], [mean(seeds) for seeds in curve["costs"][metric]]


def mean(values: Sequence[float]) -> float:
    """Mean of the values of the seeds."""
    return sum(values) / len(values)


def write(name: str, content: Mapping[str, object]) -> None:
    """Write ``results/NAME.json`` with the facts of the machine.

    Args:
        name: Name of the benchmark.
        content: Results.
    """
    path = harness.RESULTS / f"{name}.json"
    text = json.dumps({**content, "machine": harness.machine()}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"written: {path}", file=sys.stderr)


def parse_seeds(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Parse the flags of a benchmark that keeps what each seed measured.

    Args:
        parser: Parser from ``parser_of``.

    Returns:
        Options, with the seeds to run in ``run``.
    """
    parser.add_argument(
        "--only-seeds", type=seed_list, help="seeds to run, such as 0-1,4, in place of the first --seeds"
    )
    options = parser.parse_args()
    if options.seeds < 1:
        parser.error(f"--seeds: {options.seeds} is not a positive number")
    options.run = list(range(options.seeds)) if options.only_seeds is None else options.only_seeds
    return options


def seed_list(text: str) -> list[int]:
    """Seeds of a list of numbers and ranges.

    Args:
        text: Value of a flag.

    Raises:
        argparse.ArgumentTypeError: If the text has another form.

    >>> seed_list("0-2,4")
    [0, 1, 2, 4]
    """
    seeds: set[int] = set()
    for one in text.split(","):
        low, _, high = one.partition("-")
        if not low.strip().isdecimal() or not (high or low).strip().isdecimal() or int(high or low) < int(low):
            raise argparse.ArgumentTypeError(f"{one!r} is no seed or range of seeds; write e.g. 0-2,4")
        seeds |= set(range(int(low), int(high or low) + 1))
    return sorted(seeds)


def print_seconds(seeds: Mapping[int, Mapping[str, Any]]) -> None:
    """Print how long each seed took, to train and to test, and the longest trainings.

    Args:
        seeds: Content of the files by seed.
    """
    rows = []
    for seed, content in seeds.items():
        runs = {**content["runs"], **content["validation"]}
        fits = {name: run["budget"]["seconds"] for name, run in runs.items() if "budget" in run}
        tests = sum(run["seconds"] for key in ("validation", "runs") for run in content[key].values())
        longest = sorted(fits, key=lambda name: -fits[name])[:3]
        longest_fits = ", ".join(f"{name} {fits[name]:,.0f}" for name in longest)
        rows.append([str(seed), f"{sum(fits.values()):,.0f}", f"{tests:,.0f}", longest_fits])
    harness.table("seconds per seed", ["seed", "training", "tests", "longest trainings"], rows)
