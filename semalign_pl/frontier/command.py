"""``semalign frontier``: test all points of one system, the kept steps, the end and scales of its adapter."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import UsageError, one_line
from semalign_pl.messages.quiet import quieten
from semalign_pl.messages.terminal import visible
from semalign_pl.start.check import refuse_mistakes

if TYPE_CHECKING:
    from semalign_pl.frontier.measure import FinishedPoint

SCALES = "0.25,0.5,0.75"
COLUMNS = ("chrf", "rouge_l", "semantic_similarity", "cmrc_f1", "nll_change_mean", "kl_mean", "forward_kl")
"""Metrics of the table, as far as they were measured: quality first, then general ability."""


def run(args: Sequence[str]) -> int:
    """Run ``semalign frontier``.

    Args:
        args: Name of the command, the adapter, then flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = CommandParser(
        prog="semalign frontier",
        usage="semalign frontier RUN/adapter --config RECIPE --out FOLDER [--scales S,S,…]\n"
        "       [--scale_from …] [--steps FOLDER] [--KEY VALUE …]",
        description="Test all points of one system in one process: the steps that KeepSteps kept, the finished "
        "adapter, and scales of its update. The recipe is read as by semalign test; any key of it can be given as a "
        "flag. Points that were tested before are reused.",
        epilog="The end's results go to FOLDER, those of another point to FOLDER/points/NAME.",
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, help="folder for results; finished points there are not redone")
    parser.add_argument(
        "--scales",
        type=numbers,
        default=SCALES,
        help="scales of the adapter's update, 0 to 1; '' for none (default: %(default)s)",
    )
    parser.add_argument(
        "--scale_from",
        default="base",
        help="adapter at scale 0: base (none), start (that from which the training started), or a PEFT folder "
        "(default: %(default)s)",
    )
    parser.add_argument("--steps", type=Path, help="folder of kept steps (default: RUN/steps, if there is one)")
    with one_line(args) as status:
        given = list(args[1:])
        # The adapter comes first: after it, a value of an unknown key could be taken for the adapter.
        adapter = given.pop(0) if given and not given[0].startswith("-") else None
        options, recipe = parser.parse_known_args(given)
        if adapter is None:
            raise UsageError("the first argument is the adapter to test, RUN/adapter; see semalign frontier --help")
        if options.out is None:
            raise UsageError("--out: missing; give the folder for results, such as the run's own folder")
        check_adapter(Path(adapter))
        refuse_mistakes("test", recipe)
        show(Path(adapter), recipe, options.out, options.scales, options.scale_from, options.steps)
    return status.code


def check_adapter(adapter: Path) -> None:
    """Refuse a folder without an adapter, before torch is loaded.

    Args:
        adapter: PEFT folder.

    Raises:
        ValueError: If the folder has no adapter; names the one in it, if it is the folder of a run.
    """
    inside = adapter / "adapter"
    if (adapter / "adapter_config.json").is_file():
        return
    found = (inside / "adapter_config.json").is_file()
    hint = f"did you mean {inside}?" if found else "give the `adapter` folder that a finished run wrote"
    raise ValueError(
        f"model.init_args.adapter: {adapter} is not an adapter folder (no adapter_config.json in it); {hint}"
    )


def numbers(text: str) -> list[float]:
    """Numbers separated by commas, for a flag.

    Args:
        text: Value of the flag.
    """
    return [float(number) for number in text.split(",") if number.strip()]


def show(
    adapter: Path, recipe: Sequence[str], out: Path, scales: Sequence[float], scale_from: str, steps: Path | None
) -> None:
    """Test the points of a system, with one line per point, and print them as a table.

    Args:
        adapter: PEFT folder of the finished adapter.
        recipe: ``--config FILE`` and flags, as for ``semalign test``.
        out: Folder for results.
        scales: Scales of the adapter's update, 0 to 1.
        scale_from: Adapter at scale 0: ``base``, ``start`` or a PEFT folder.
        steps: Folder of kept steps; ``None`` for the subfolder ``steps`` of the adapter's run, if there is one.
    """
    from rich.table import Table

    from semalign_pl.frontier.measure import measure
    from semalign_pl.messages.console import Console

    quieten()
    rows: list[tuple[FinishedPoint, dict[str, float]]] = []
    for one in measure(adapter, recipe, out, scales, scale_from, steps):
        values = {name: entry["value"] for name, entry in one.results["metrics"].items() if name in COLUMNS}
        values = {name: value for name, value in values.items() if value is not None}  # null: it is not finite
        numbers = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        how = "reused, tested before" if one.reason is None else "tested"
        print(visible(f"{one.point.name}: {numbers} ({how} in {one.seconds:.1f} s)"), flush=True)
        rows.append((one, values))
    columns = [name for name in COLUMNS if any(name in values for _, values in rows)]
    reused = sum(one.reason is None for one, _ in rows)
    table = Table("point", *columns, title=f"{out}: {len(rows)} points, {reused} of them reused")
    for one, values in rows:
        table.add_row(one.point.name, *(f"{values[name]:.4f}" if name in values else "" for name in columns))
    Console().print(table)
