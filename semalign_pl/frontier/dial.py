"""``semalign dial``: the largest scale of an adapter that stays within the loss that the user accepts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.files.atomic import write_text
from semalign_pl.files.json_text import to_json
from semalign_pl.functional.dial import Trial, choose, next_scale
from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line

if TYPE_CHECKING:
    from semalign_pl.frontier.losses import Loss

MAX_TESTS = 6
"""Most scales that are tested, besides the base and the lower end of the search."""


@dataclass(frozen=True)
class Setting:
    """Tested scale, with what it gives and costs.

    Attributes:
        trial: Scale, and largest used share of a budget.
        quality: Quality at this scale.
        losses: Loss against the base, by metric of the budget.
    """

    trial: Trial
    quality: float
    losses: Mapping[str, Loss]


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="semalign dial",
        usage="semalign dial RUN/adapter --config RECIPE --lose METRIC=MOST,… [options]",
        description="Find the largest scale of an adapter's update at which the model loses no more general ability "
        "than you accept, by testing at most six scales, and write that adapter as a plain PEFT folder. Works on any "
        "LoRA adapter of the recipe's base, whoever trained it. Losses are against the base model, and count with "
        "their upper confidence bound. Any key of the recipe can be given as a flag.",
        allow_abbrev=False,
    )
    parser.add_argument("adapter", metavar="ADAPTER", help="PEFT folder of the finished adapter, e.g. RUN/adapter")
    parser.add_argument(
        "--lose",
        required=True,
        metavar="METRIC=MOST,…",
        help="most that may be lost of each metric, in its unit, e.g. cmrc_f1=2,nll_change_mean=0.02",
    )
    parser.add_argument("--quality", default="chrf", help="metric to show as quality (%(default)s)")
    parser.add_argument(
        "--confidence",
        type=float,
        default=0.95,
        help="one-sided confidence that a loss is within its budget, from a paired bootstrap over test items; 0.5 is "
        "about the loss as measured (%(default)s)",
    )
    parser.add_argument(
        "--scale_from",
        default="base",
        help="lower end of the scale: base, start (the adapter that the training started from) or an adapter's folder "
        "(%(default)s)",
    )
    parser.add_argument("--out", type=Path, help="folder to write to (default: folder dial next to the adapter)")
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
        options, recipe = parser.parse_known_args(list(args[1:]))
        budget = parse_budget(options.lose)
        if not 0.5 <= options.confidence < 1:
            raise ValueError(f"--confidence: {options.confidence} is not from 0.5 to below 1; give e.g. 0.95")
        adapter = Path(options.adapter)
        if not adapter.is_dir():
            raise ValueError(f"ADAPTER: there is no folder {adapter}; give the PEFT folder that the training left")
        out = options.out or adapter.parent / "dial"
        dial(adapter, recipe, budget, out, options.scale_from, options.quality, options.confidence)
    return status.code


def parse_budget(text: str) -> dict[str, float]:
    """Budgets of ``--lose``, such as ``cmrc_f1=2,nll_change_mean=0.02``.

    Args:
        text: Value of the flag.

    Raises:
        ValueError: If an entry is not METRIC=MOST with a number above 0, or a metric is named twice.
    """
    budget: dict[str, float] = {}
    for entry in text.split(","):
        name, equals, most = (word.strip() for word in entry.partition("="))
        try:
            number = float(most)
        except ValueError:
            number = math.nan
        if not name or not equals or math.isnan(number):
            raise ValueError(f"--lose: {entry.strip()!r} is not METRIC=MOST; write e.g. cmrc_f1=2,nll_change_mean=0.02")
        if not 0 < number < math.inf:
            raise ValueError(
                f"--lose: {name}={most} cannot be kept: a loss of {most} leaves no scale to choose; give a number above "
                "0, in the metric's unit, whichever direction is worse"
            )
        if name in budget:
            raise ValueError(f"--lose: {name} is named twice; give it one budget")
        budget[name] = number
    return budget
