"""Comparison of the systems as a table: quality on the left, general ability lost on the right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .json_values import get_object
from .results import COST, QUALITY, Column, Metric, Results, column_of, parse

if TYPE_CHECKING:
    from rich.table import Table

LOST = "general ability lost"
ABSENT = "–"
REFERENCES, CONSISTENCY = "References", "language_consistency"


@dataclass(frozen=True)
class Cell:
    """One number as text.

    Attributes:
        value: Rounded value, or a dash.
        spread: Spread as ``±…``, or empty.
        over_seeds: True if the spread is a standard deviation over seeds; else it is half a bootstrap interval.
        best: True if the value is the best of the trained systems in a quality column.
    """

    value: str = ABSENT
    spread: str = ""
    over_seeds: bool = False
    best: bool = False


@dataclass(frozen=True)
class Grid:
    """Content of the table, independent of its format.

    Attributes:
        quality: Columns of quality metrics.
        cost: Columns of general ability lost.
        rows: Per system: its title, its quality cells and its cost cells.
        note: Explanation of the signs in the table; may be empty.
    """

    quality: list[Column]
    cost: list[Column]
    rows: list[tuple[str, list[Cell], list[Cell]]]
    note: str


def grid(results: Mapping[str, object]) -> Grid:
    """Content of the comparison table.

    Quality columns that no system has are left out (a headline task has no BLEU). Cost columns, see `cost_columns`,
    always stay, to show that a loss was not measured. The last row is the references' own language consistency, if it
    was measured.

    Args:
        results: Dictionary of ``results.json``.

    Raises:
        ValueError: If ``results`` is malformed.
    """
    parsed = parse(results)
    quality = [column for column in QUALITY if parsed.values_of(column.name)]
    best, cost = {column.name: _best(parsed, column) for column in quality}, cost_columns(results)
    rows = [
        (
            parsed.title_of(system),
            [_cell(metrics.get(c.name), c, system in parsed.trained, best[c.name]) for c in quality],
            [_cell(metrics.get(c.name), c) for c in cost],
        )
        for system, metrics in parsed.systems.items()
    ]
    if parsed.references and any(column.name == CONSISTENCY for column in quality):
        rows.append((REFERENCES, [_ceiling(parsed, column) for column in quality], [Cell() for _ in cost]))
    return Grid(quality, cost, rows, _note(rows))


def cost_columns(results: Mapping[str, object]) -> list[Column]:
    """Columns of general ability: `COST`, or those of the study's frontier if it has costs that are not among them.

    Args:
        results: Dictionary of ``results.json``.

    >>> [column.title for column in cost_columns({"frontier": {"costs": ["nll_change_mean", "piqa_accuracy"]}})]
    ['NLL change', 'piqa accuracy']
    """
    costs, known = get_object(results, "frontier").get("costs"), {column.name for column in COST}
    names = [str(name) for name in costs] if isinstance(costs, list) else []
    return [column_of(name) for name in names] if {*names} - known else list(COST)


def comparison(results: Mapping[str, object]) -> Table:
    """Comparison table for a terminal.

    Args:
        results: Dictionary of ``results.json``.

    Returns:
        Table with one row per system: quality, a bar, then general ability lost; each spread is below its value. All
        metrics fit 80 columns.

    Raises:
        ValueError: If ``results`` is malformed.
    """
    from rich import box
    from rich.table import Table

    from semalign_pl.messages.console import Text

    def draw(cell: Cell) -> Text:
        text = Text(cell.value, style="bold" if cell.best else "")
        if cell.spread:
            text.append(f"\n{cell.spread}", style="not bold" if cell.over_seeds else "dim not bold")
        return text

    cells, bar = grid(results), Text("│", style="dim not bold")
    caption = f"Right of the bar: {LOST}. {cells.note}".strip()
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, caption=caption, caption_justify="left")
    names = [word for title, _, _ in cells.rows for word in title.split()]
    table.add_column("System", min_width=max(map(len, ["System", *names])))  # the only column that may wrap
    for at, column in enumerate(cells.quality + cells.cost):
        if at == len(cells.quality):
            table.add_column(bar)
        words = [word for row in cells.rows for word in draw((row[1] + row[2])[at]).plain.split()]
        heading = f"{column.short or column.title} {column.arrow}"
        table.add_column(heading, justify="right", width=max(map(len, [*words, *heading.split()])))
    for title, quality, cost in cells.rows:
        table.add_row(Text(title), *map(draw, quality), bar, *map(draw, cost))
    return table


def markdown(results: Mapping[str, object]) -> str:
    """Comparison table in GitHub's Markdown, followed by its note.

    Args:
        results: Dictionary of ``results.json``.

    Raises:
        ValueError: If ``results`` is malformed.
    """

    def draw(cell: Cell) -> str:
        value = f"**{cell.value}**" if cell.best else cell.value
        return f"{value} {cell.spread}".rstrip()

    cells = grid(results)
    headings = [column.heading for column in cells.quality], [column.heading for column in cells.cost]
    lines = [
        ["System", *headings[0], f"*{LOST}* ▸", *headings[1]],
        ["---", *["--:"] * len(cells.quality), ":-:", *["--:"] * len(cells.cost)],
        *([_escape(title), *map(draw, quality), "", *map(draw, cost)] for title, quality, cost in cells.rows),
    ]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{table}\n\n{cells.note}\n" if cells.note else f"{table}\n"


def _best(parsed: Results, column: Column) -> str | None:
    """Best value of a column, rounded so that ties share it; ``None`` unless two trained systems have the metric."""
    values = [metric.value for metric in parsed.values_of(column.name, parsed.trained).values()]
    return column.format(max(values)) if len(values) > 1 else None


def _cell(metric: Metric | None, column: Column, trained: bool = False, best: str | None = None) -> Cell:
    if metric is None:
        return Cell()
    value = column.format(metric.value)
    spread = metric.half_width if metric.sd is None else metric.sd
    text = "" if spread is None else f"±{column.format_spread(spread)}"
    return Cell(value, text, over_seeds=metric.sd is not None, best=trained and value == best)


def _ceiling(parsed: Results, column: Column) -> Cell:
    """Cell of the references in a column; empty except in language consistency."""
    if column.name != CONSISTENCY:
        return Cell()
    low, high = parsed.references[0], parsed.references[-1]
    if column.format(low.value) == column.format(high.value):
        return _cell(low, column)
    return Cell(f"{column.format(low.value)} to {column.format(high.value)}")  # the systems' test sets differ


def _note(rows: list[tuple[str, list[Cell], list[Cell]]]) -> str:
    """Explanation of the plus-minus signs, of bold values, and of the references' row."""
    cells = [cell for _, left, right in rows for cell in left + right]
    over_seeds = any(cell.spread and cell.over_seeds for cell in cells)
    over_rows = any(cell.spread and not cell.over_seeds for cell in cells)
    meanings = {"standard deviation over seeds": over_seeds, "half a 95 % bootstrap interval over test rows": over_rows}
    used = [meaning for meaning, is_used in meanings.items() if is_used]
    legend = [f"±: {'; where one seed ran, '.join(used)}."] if used else []
    if any(cell.best for cell in cells):
        legend.append("Bold: best trained system in the column.")
    if rows[-1][0] == REFERENCES:
        legend.append("References: the human texts of the test set under the same rule, the practical ceiling.")
    return " ".join(legend)


def _escape(text: str) -> str:
    """Name of a system, with the special characters of Markdown escaped."""
    for mark in "\\|*_`[]<":
        text = text.replace(mark, f"\\{mark}")
    return text
