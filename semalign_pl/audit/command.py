"""``semalign reward-check``: audit of a recipe's rewards before any training."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.files.atomic import write_text
from semalign_pl.files.json_text import to_json
from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line
from semalign_pl.start.check import refuse_mistakes

if TYPE_CHECKING:
    import rich.table

    from semalign_pl.audit.audit import Audit

REFUSED = 1
"""Exit status of a reward that is refused; 2 is a user's mistake."""
PAIRS = 200
"""Number of pairs: the interval of an AUC of 0.5 is then 0.39 to 0.61."""
MIN_PAIRS = 20
"""Number of pairs below which no interval excludes much."""

LEGEND = (
    "AUC within a prompt of a draft against the same draft spoiled, lowest of drafts with 0, 25 and 50 % of their "
    "words wrong or missing: 0.5 is chance, and below it the fault pays. Spread is the standard deviation of the "
    "reward within a prompt: over drafts of different quality, and over drafts of equal quality (noise)."
)


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="semalign reward-check",
        usage="semalign reward-check --config RECIPE.yaml [options]",
        description="Audit the rewards of a GRPO recipe before training, without the policy: on validation pairs, does "
        "each reward, and their total, prefer honest drafts to copied sources, shuffled words, and so on? Any key of "
        "the recipe can be given as a flag. The exit status is 1 if the total is refused.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--out", type=Path, help="folder to write to (reward_check in the recipe's trainer.default_root_dir)"
    )
    parser.add_argument("--pairs", type=int, default=PAIRS, help="number of pairs, drawn by seed (%(default)s)")
    return parser


def run(args: Sequence[str]) -> int:
    """Run ``semalign reward-check``.

    Args:
        args: Name of the command, then its flags.

    Returns:
        Exit status: 0; 1 if the total reward is refused; 2 after a user's mistake.
    """
    with one_line(args) as status:
        options, recipe = _parser().parse_known_args(list(args[1:]))
        if not recipe:
            example = "semalign reward-check --config configs/quickstart/semantic_grpo.yaml"
            raise ValueError(f"--config: missing; give a recipe, e.g. {example}")
        if options.pairs < MIN_PAIRS:
            raise ValueError(f"--pairs: {options.pairs} pairs say too little; give {MIN_PAIRS} or more")
        refuse_mistakes("fit", recipe)
        if check(options, recipe):
            status.code = REFUSED
    return status.code


def check(options: argparse.Namespace, args: Sequence[str]) -> bool:
    """Audit the rewards, print the table and the verdict, and write JSON file and picture.

    Args:
        options: Parsed flags of the command.
        args: ``--config FILE`` and flags of the recipe.

    Returns:
        True if the total reward is refused.

    Raises:
        ValueError: If the recipe has no rewards or too few pairs, or ``--out`` is a file.
    """
    from semalign_pl.audit.audit import COLUMNS, audit
    from semalign_pl.audit.dev_pairs import read_dev_pairs
    from semalign_pl.audit.groups import make_groups
    from semalign_pl.audit.picture import draw
    from semalign_pl.audit.prepare import ready_rewards
    from semalign_pl.cli.parsed_recipe import parse_recipe
    from semalign_pl.messages.console import Console
    from semalign_pl.messages.quiet import quieten

    quieten()
    recipe = parse_recipe(args)
    out = options.out or Path(recipe.settings.trainer.default_root_dir or ".") / "reward_check"
    if out.is_file():
        raise ValueError(f"--out: {out} is a file; give a folder")
    data = recipe.make_data()
    pairs = read_dev_pairs(data)
    groups = make_groups(pairs.rows, data.seed, options.pairs)
    if len(groups) < MIN_PAIRS:
        raise ValueError(
            f"--pairs: only {len(groups)} of {len(pairs.rows)} rows have a reference of four words or more, and "
            f"{MIN_PAIRS} are needed; name a larger file with --data.init_args.validation FILE"
        )
    rewards, aggregation, notes = ready_rewards(recipe, groups)
    result = audit(rewards, groups, aggregation)
    console = Console()
    console.print(_table(result))
    console.print(f"{result.pairs} pairs: {pairs.origin}. {LEGEND}", soft_wrap=True)
    for note in [*notes, *result.verdict.warnings]:
        console.print(f"note: {note}", soft_wrap=True)
    console.print(f"verdict: {result.verdict}", style="bold red" if result.verdict.refused else "bold", soft_wrap=True)
    numbers, picture = out / "reward_check.json", out / "reward_check.png"
    written = {**result.as_json(), "origin": pairs.origin, "notes": list(notes), "seed": data.seed}
    written["signatures"] = {reward.name: reward.signature for reward in rewards}
    write_text(numbers, to_json(written, numbers, indent=2) + "\n")
    title = "Refused" if result.verdict.refused else "No objection"
    rows = {name: [found.value for found in figures.lowest] for name, figures in result.figures.items()}
    draw(picture, COLUMNS, rows, f"{title}: AUC of drafts against spoiled ones")
    console.print(f"numbers: {numbers}, picture: {picture}", soft_wrap=True)
    return result.verdict.refused


def _table(result: Audit) -> rich.table.Table:
    """Table of AUCs: one column per reward and one for their total; red where the fault pays."""
    import rich.table

    from semalign_pl.audit.audit import COLUMNS
    from semalign_pl.messages.console import Text

    table = rich.table.Table("draft against")
    for name in result.figures:
        table.add_column(Text(name), justify="right")
    for comparison, found in zip(COLUMNS, zip(*(f.lowest for f in result.figures.values()), strict=True), strict=True):
        cells = [Text("–" if math.isnan(one.value) else f"{one.value:.2f}", "red" if one.pays else "") for one in found]
        table.add_row(comparison.replace("_", " "), *cells)
    table.add_section()
    for name in ("quality", "noise"):
        values = (getattr(figures, name) for figures in result.figures.values())
        table.add_row(f"spread, {name}", *(f"{value:.3f}" for value in values))
    return table
