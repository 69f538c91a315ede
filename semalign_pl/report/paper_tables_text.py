"""Text of a paper's tables beside a study's, for terminal, page and Markdown."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from .paper_tables import ComparedCell, PairOrder, check_published, compare_published
from .results import Results, column_of
from .table import ABSENT

if TYPE_CHECKING:
    from rich.table import Table


class RenderedTable(TypedDict):
    """Text of one compared table.

    Attributes:
        title: Title.
        metrics: Headings of the metrics, each of a column of the paper's numbers and one of the study's.
        rows: Title of each system, then pairs of the paper's number and the study's with its interval.
        sentences: Sentences on the order of the rows.
    """

    title: str
    metrics: list[str]
    rows: list[tuple[str, list[tuple[str, str]]]]
    sentences: list[str]


def render_tables(results: Mapping[str, object], parsed: Results) -> list[RenderedTable]:
    """Text of all tables of the paper that a study names; empty if it names none.

    Args:
        results: Dictionary of ``results.json``.
        parsed: The same, parsed.
    """
    published = results.get("published")
    rendered: list[RenderedTable] = []
    for table in (
        compare_published(check_published(published, "results: published"), parsed).values() if published else ()
    ):
        metrics = list(next(iter(table["rows"].values())))
        rendered.append(
            {
                "title": table["title"],
                "metrics": [column_of(metric).heading for metric in metrics],
                "rows": [
                    (parsed.title_of(system), [_texts(metric, row[metric]) for metric in metrics])
                    for system, row in table["rows"].items()
                ],
                "sentences": [
                    _sentence(metric, pairs, {system: row[metric] for system, row in table["rows"].items()}, parsed)
                    for metric, pairs in table["order"].items()
                ],
            }
        )
    return rendered


def paper_table(rendered: RenderedTable) -> Table:
    """Compared table for a terminal: below each of the paper's numbers the study's.

    Args:
        rendered: Text of the table.
    """
    from rich import box
    from rich.table import Table

    from semalign_pl.messages.console import Text

    table = Table(title=f"{rendered['title']}: paper, ours [interval]", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("System")
    for metric in rendered["metrics"]:
        table.add_column(metric, justify="right")
    for title, cells in rendered["rows"]:
        table.add_row(Text(title), *(Text(f"{paper}\n{ours}") for paper, ours in cells))
    return table


def markdown_tables(results: Mapping[str, object], parsed: Results) -> str:
    """All tables in GitHub's Markdown; empty if the study names no paper.

    Args:
        results: Dictionary of ``results.json``.
        parsed: The same, parsed.
    """
    texts: list[str] = []
    for table in render_tables(results, parsed):
        heads = [text for metric in table["metrics"] for text in (f"{metric} paper", "ours")]
        lines = [[table["title"], *heads], ["---", *["--:"] * len(heads)]]
        lines += [[title, *itertools.chain.from_iterable(cells)] for title, cells in table["rows"]]
        texts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        texts += table["sentences"]
    return "\n\n".join(texts)


def _texts(metric: str, cell: ComparedCell) -> tuple[str, str]:
    """The paper's number, and the study's: mean, standard deviation over seeds, and interval over test rows."""
    column = column_of(metric)
    paper = ABSENT if cell["paper"] is None else column.format(cell["paper"])
    if cell["ours"] is None:
        return paper, ABSENT
    spread = f" ±{column.format_spread(statistics.stdev(cell['seeds']))}" if len(cell["seeds"]) > 1 else ""
    ci = "" if cell["ci"] is None else f" [{column.format(cell['ci'][0])}, {column.format(cell['ci'][1])}]"
    return paper, f"{column.format(cell['ours'])}{spread}{ci}"


def _sentence(metric: str, pairs: Sequence[PairOrder], column: Mapping[str, ComparedCell], results: Results) -> str:
    """Sentence on the order of the rows in one metric, with the rows of the paper that the study did not measure."""
    title, other = column_of(metric).title, [pair for pair in pairs if not pair["same"]]
    same = len(pairs) - len(other)
    close = sum(pair["same"] and not pair["apart"] for pair in pairs)
    overlap = f" (the intervals of {close} overlap)" if close else ""
    absent = [name for name, cell in column.items() if cell["paper"] is not None and cell["ours"] is None]
    unmeasured = f"; not measured: {', '.join(map(results.title_of, absent))}" if absent else ""
    if not other:
        return f"{title}: the order of all{' measured' * bool(absent)} rows is the paper's{overlap}{unmeasured}."
    differing = [
        f"{results.title_of(pair['lower'])} is not below {results.title_of(pair['higher'])}"
        + ("" if pair["apart"] else " (intervals overlap)")
        for pair in other
    ]
    return (
        f"{title}: {same} of {len(pairs)} pairs of rows have the paper's order{overlap}; {', '.join(differing)}"
        f"{unmeasured}."
    )
