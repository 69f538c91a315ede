"""``semalign runs``: list the runs below a folder with their state and scores."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line
from semalign_pl.messages.terminal import visible
from semalign_pl.run.overview import RunState, find_runs

SHOWN = ("chrf", "cmrc_f1", "language_consistency", "bleu4", "semantic_similarity", "nll_change_mean")
"""Scores for the table; the first three that a run has are in it, and all are in the JSON."""


def run(args: Sequence[str]) -> int:
    """Run ``semalign runs``.

    Args:
        args: Name of the command, then its flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    description = "List the runs in a folder and its subfolders, with state, steps and scores of the test."
    parser = CommandParser(prog="semalign runs", description=description, allow_abbrev=False)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs"), help="folder to look in (default: runs)")
    parser.add_argument("--json", action="store_true", help="print JSON with all scores")
    with one_line() as status:
        options = parser.parse_args(list(args[1:]))
        runs = list(find_runs(options.folder))
        if options.json:
            print(json.dumps([one.as_dict() for one in runs], ensure_ascii=False, indent=1))
        elif runs:
            _print_table(runs, options.folder)
        else:
            print(f"{options.folder} holds no run")
    return status.code


def _print_table(runs: Sequence[RunState], folder: Path) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from semalign_pl.messages.console import Console

    named = [name for name in SHOWN if any(name in one.scores for one in runs)][:3]
    table = Table(title=str(folder), box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("run", overflow="fold")
    for name in ("state", "step", "age", *named):
        table.add_column(
            name.replace("_", " "), no_wrap=name not in named, justify="right" if name in named else "left"
        )
    for one in runs:
        step = "" if one.step is None else f"{one.step}/{one.steps}" if one.steps else str(one.step)
        path = one.path.relative_to(folder)
        scores = [f"{one.scores[name]:.4g}" if name in one.scores else "" for name in named]
        table.add_row(str(path), one.state, step, describe_age(time.time() - one.changed), *scores)
    Console().print(table)
    for one in runs:
        if one.fault:
            print(visible(f"damaged: {one.fault}"))


def describe_age(seconds: float) -> str:
    """Age for people, in the largest unit of which there are two or more.

    >>> [describe_age(one) for one in (5, 600, 90_000, 864_000)]
    ['5 s', '10 min', '25 h', '10 d']
    """
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0, seconds):.0f} s"
