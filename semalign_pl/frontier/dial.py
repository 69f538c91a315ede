"""``semalign dial``: the largest scale of an adapter that stays within the loss that the user accepts."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.frontier.command import check_adapter
from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import UsageError, one_line
from semalign_pl.messages.quiet import quieten
from semalign_pl.start.check import refuse_mistakes

if TYPE_CHECKING:
    from semalign_pl.frontier.scale_search import Goal, Setting


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="semalign dial",
        usage="semalign dial RUN/adapter --config RECIPE --lose METRIC=MOST,… [options]",
        description="Find the largest scale of an adapter's update at which the model loses no more general ability "
        "than you accept, by testing at most six scales, and write that adapter as a plain PEFT folder. Works on any "
        "LoRA adapter of the recipe's base, whoever trained it. Losses are against the base model, and count with "
        "their upper confidence bound. Any key of the recipe can be given as a flag.",
        epilog="FOLDER gets the subfolder adapter, a fit.yaml by which translate, chat, demo and export take FOLDER as "
        "a run, dial.json with all numbers, and points with the tests, which later searches reuse.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--lose",
        required=True,
        metavar="METRIC=MOST,…",
        help="most that may be lost of each metric, in its unit, e.g. cmrc_f1=2,nll_change_mean=0.02",
    )
    parser.add_argument(
        "--scale_from",
        default="base",
        metavar="base|start|FOLDER",
        help="lower end of the scale: base, the adapter that the training started from, or any adapter (%(default)s)",
    )
    parser.add_argument(
        "--confidence",
        type=float,
        default=0.95,
        help="one-sided confidence that each loss is within its budget, by paired bootstrap over test items; 0.5 takes "
        "losses about as measured (%(default)s)",
    )
    parser.add_argument("--quality", default="chrf", help="metric to show as quality (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder to write to (default: dial, beside ADAPTER)")
    return parser


def run(args: Sequence[str]) -> int:
    """Run ``semalign dial``.

    Args:
        args: Name of the command, then its flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = _parser()
    with one_line(args) as status:
        given = list(args[1:])
        # The adapter comes first: after it, a value of an unknown key could be taken for the adapter.
        adapter = given.pop(0) if given and not given[0].startswith("-") else None
        options, recipe = parser.parse_known_args(given)
        if adapter is None:
            raise UsageError("the first argument is the adapter to scale, RUN/adapter; see semalign dial --help")
        _dial(Path(adapter), options, recipe)
    return status.code


def _dial(adapter: Path, options: argparse.Namespace, recipe: Sequence[str]) -> None:
    budget = parse_budget(options.lose)
    if not 0.5 <= options.confidence < 1:
        raise ValueError(f"--confidence: {options.confidence} is not from 0.5 to below 1; give e.g. 0.95")
    if not adapter.is_dir():
        raise ValueError(f"ADAPTER: there is no folder {adapter}; give the PEFT folder that a training left")
    check_adapter(adapter)
    refuse_mistakes("test", recipe)
    from semalign_pl.card.write import write_card
    from semalign_pl.frontier.scale_search import Goal, dial

    quieten()
    goal = Goal(budget, options.confidence, options.quality, options.scale_from)
    out = options.out or adapter.parent / "dial"
    settings, chosen = dial(adapter, recipe, goal, out)
    _print(settings, chosen, goal)
    if chosen is None:
        earlier = f"; {out}/adapter is of an earlier search" if (out / "adapter").exists() else ""
        raise ValueError(
            f"--lose: {options.lose}: no tested scale above 0 is surely within it; allow more, test on more items, or "
            f"take a lower --confidence (the table is in {out}/dial.json{earlier})"
        )
    write_card(out / "adapter", "adapter", None)  # the scores of the run are not those of this scale
    print(f"written: {out}/adapter")


def parse_budget(text: str) -> dict[str, float]:
    """Budgets of ``--lose``, such as ``cmrc_f1=2,nll_change_mean=0.02``.

    Args:
        text: Value of the flag.

    Raises:
        ValueError: If an entry is not METRIC=MOST with a number above 0, or a metric is named twice.
    """
    budget: dict[str, float] = {}
    for entry in text.split(","):
        name, _, most = (word.strip() for word in entry.partition("="))
        try:
            number = float(most)
        except ValueError:
            number = math.nan
        if not name or math.isnan(number):
            raise ValueError(f"--lose: {entry.strip()!r} is not METRIC=MOST; write e.g. cmrc_f1=2,nll_change_mean=0.02")
        if not 0 < number < math.inf:
            raise ValueError(
                f"--lose: {name}={most} is no loss to accept; give a number above 0, in the metric's unit, also for a "
                "metric that falls"
            )
        if name in budget:
            raise ValueError(f"--lose: {name} is named twice; give it one budget")
        budget[name] = number
    return budget


def _print(settings: Sequence[Setting], chosen: Setting | None, goal: Goal) -> None:
    """Print quality and losses of the tested scales, the chosen one marked."""
    from rich.table import Table

    from semalign_pl.messages.console import Console

    table = Table("", "scale", goal.quality, title="Losses against the base model, and at most (upper bound)")
    for name, most in goal.budget.items():
        table.add_column(f"{name}: {most:g}", justify="right")
    table.add_column("budget used", justify="right")
    for setting in settings:
        lost = [f"{loss.value:.4g}, at most {loss.bound:.4g}" for loss in setting.losses.values()]
        row = (f"{setting.scale:g}", f"{setting.quality:.4g}", *lost, f"{setting.used:.0%}")
        mark = "chosen" if setting is chosen else ""
        table.add_row(mark, *row, style="bold" if mark else "")
    console = Console()
    console.print(table)
    items = ", ".join(f"{loss.items} for {name}" for name, loss in settings[0].losses.items())
    console.print(
        f"At most: with {goal.confidence:.0%} confidence, by paired bootstrap over items ({items}). The choice is the "
        "largest scale such that no smaller tested one exceeds the budget."
    )
    if chosen is not None and settings[-1].scale == 1:
        console.print(
            f"Scale {chosen.scale:g} has {goal.quality} {chosen.quality:.4g}; the whole adapter has "
            f"{settings[-1].quality:.4g}, and scale 0 {settings[0].quality:.4g}."
        )
