"""Does a translator learn to write headlines from fewer examples? configs/map/few_shot in conditions of the map.

python benchmarks/few_shot.py --seeds 3   # writes results/few_shot.json; finished steps are not redone

Each condition is a study of its own, in the folder of the map's cells, whose translators it uses if they are there.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import harness
from frontier_report import write
from map import CONDITIONS, prepare

DEFAULT = ("pairs-1000-style-0", "pairs-1000-style-0.5", "pairs-1000-style-1")
SHOWN = ("rouge_l", "semantic_similarity", "chrf", "cmrc_f1", "nll_change_mean")
STARTS = ("base", "cold_start", "sft", "grpo")
"""What few-shot systems start from, in the order of the table."""
FEW = re.compile(r"few_(\d+)_from_(\w+)")
"""Name of a few-shot system: number of headlines, and what it starts from."""


def rows_of(systems: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per few-shot system.

    Args:
        systems: Entry ``systems`` of a study's results.

    Returns:
        Rows with ``headlines``, ``start`` and, by metric, value, interval and value per seed.
    """
    rows = []
    for name, system in systems.items():
        if found := FEW.fullmatch(name):
            rows.append({"headlines": int(found[1]), "start": found[2], **{m: system["metrics"][m] for m in SHOWN}})
    return sorted(rows, key=lambda row: (row["headlines"], STARTS.index(row["start"])))


def show(condition: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of a condition."""
    table = [
        [f"{row['headlines']:,}", row["start"], *(f"{row[metric]['value']:.3f}" for metric in SHOWN)] for row in rows
    ]
    harness.table(f"headlines after translation, {condition}", ["headlines", "start", *SHOWN], table)


def parser() -> argparse.ArgumentParser:
    """Parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seeds", type=int, default=3, help="number of seeds (default: %(default)s)")
    made.add_argument("--conditions", nargs="+", default=DEFAULT, choices=[*CONDITIONS], metavar="CONDITION")
    made.add_argument("--models", type=Path, default=Path("benchmarks/map_models"), help="of `toy build --styles`")
    made.add_argument("--config", type=Path, default=Path("configs/map"))
    made.add_argument("--out", type=Path, default=Path("runs/map"))
    return made


def write_results(conditions: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Write results/few_shot.json; other conditions that it has by the same options are kept.

    Args:
        conditions: Rows by condition.
        options: Options of the command line.
    """
    words = ["python", "benchmarks/few_shot.py", "--seeds", str(options.seeds)]
    for name in ("models", "config", "out"):
        if (value := getattr(options, name)) != parser().get_default(name):
            words += [f"--{name}", str(value)]
    command, path = shlex.join(words), harness.RESULTS / "few_shot.json"
    earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"command": ""}
    if earlier["command"].partition(" --conditions ")[0] == command:
        conditions = {**earlier["conditions"], **conditions}
    content = {name: conditions[name] for name in CONDITIONS if name in conditions}
    if {*content} != {*DEFAULT}:
        command = f"{command} --conditions {' '.join(content)}"
    write("few_shot", {"conditions": content, "seeds": options.seeds, "command": command})


def main() -> None:
    """Run the steps of each condition that are not done yet, print the tables and write the results."""
    options = parser().parse_args()
    from semalign_pl.study.command import run_study

    content: dict[str, Any] = {}
    for condition in options.conditions:
        folder, configs = prepare(condition, options)
        run_study(configs / "few_shot", folder, options.seeds)
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        content[condition] = rows_of(results["systems"])
        show(condition, content[condition])
    write_results(content, options)


if __name__ == "__main__":
    main()
