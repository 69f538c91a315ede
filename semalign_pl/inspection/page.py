"""One self-contained HTML page: all statistics, histograms, samples, and repeated rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semalign_pl.files.html_page import write_html_page
from semalign_pl.inspection import table
from semalign_pl.inspection.column import Column
from semalign_pl.inspection.histogram import FOOT, HEIGHT, WIDTH, Histogram, histogram
from semalign_pl.inspection.leaks import MeasuredFile
from semalign_pl.inspection.lengths import Statistics

TEMPLATE = "page.html.jinja"


def write_page(path: Path, result: Statistics, measured: Sequence[MeasuredFile]) -> None:
    """Write the page. It loads nothing: pictures and styles are inline.

    Args:
        path: File to write.
        result: Dictionary of statistics from ``inspect``.
        measured: Counts per file from ``inspect``.
    """
    drawn = [
        {field: _histograms(file.measure.columns[field], column, result["limits"]) for field, column in columns.items()}
        for file, columns in zip(measured, (file["columns"] for file in result["files"]), strict=True)
    ]
    common = [pair for pair in result["leakage"] if table.count_common(pair)]
    write_html_page(
        path,
        "semalign_pl.inspection",
        TEMPLATE,
        result=result,
        files=list(zip(result["files"], drawn, strict=True)),
        common=common,
        pairs_note=table.pairs_note(result["leakage"]),
        few=len(result["files"]) <= table.DETAILED_FILES,
        width=WIDTH,
        height=HEIGHT,
        foot=FOOT,
        lengths=table.LENGTHS,
        measures=table.measures,
        properties=table.properties,
        describe_preparation=table.describe_preparation,
        drop_lines=table.drop_lines,
        break_lines=table.break_lines,
        remarks=table.remarks,
        lines_read=table.lines_read,
        rows_read=table.rows_read,
        percent=table.percent,
        amount=table.amount,
    )


def _histograms(column: Column, numbers: Statistics, limits: Sequence[int]) -> dict[str, Histogram]:
    counts = (column.characters, column.units, column.token_lengths)
    return {
        name: histogram(lengths, limits if name == "tokens" else ())
        for (name, _), lengths in zip(table.measures(numbers), counts, strict=False)
    }
