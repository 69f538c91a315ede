"""Statistics as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from semalign_pl.data.storing.cache import counts
from semalign_pl.inspection.rows import FILLED

if TYPE_CHECKING:
    from rich.table import Table

DETAILED_FILES = 8
"""Maximum number of files with a table each; with more files, each has one line, and the page has the rest."""
COLUMNS_A_TABLE = 3
_COUNTED = ("lines", "read", "good", "empty")
LENGTHS = ("p5", "p50", "p95", "p99", "max")
Numbers = Mapping[str, Any]


def tables(result: Numbers) -> list[Table | str]:
    """Tables for the terminal: tables per file (or one of all files), then the rows that files have in common.

    Args:
        result: Dictionary of statistics from ``inspect``.

    Returns:
        Tables and notes to print, in order.
    """
    files = result["files"]
    detailed = len(files) <= DETAILED_FILES
    shown: list[Table | str] = [part for file in files for part in _of_file(file)] if detailed else []
    if len(files) > 1:
        shown.append(overview(files, with_columns=not detailed))
    if any(map(leaks, result["leakage"])):
        return [*shown, common(result["leakage"])]
    return [*shown, *([pairs_note(result["leakage"])] if result["leakage"] else [])]


def column_name(field: str, column: Numbers) -> str:
    """Name of the field, followed by the file's column if its name differs."""
    return field if field == column["column"] else f"{field} ({column['column']})"


def unit_name(column: Numbers) -> str:
    """Name of a column's unit, singular.

    ``unit`` rather than ``character`` for Chinese, where a foreign word or a number is one unit.
    """
    return "unit" if column["unit"] == "character" else column["unit"]


def measures(column: Numbers) -> list[tuple[str, Numbers]]:
    """Length statistics of a column, by the name of what is counted: characters, units and, with a model, tokens."""
    found = [("characters", column["characters"]), (f"{unit_name(column)}s", column["units"])]
    return [*found, *([("tokens", column["tokens"])] if column["tokens"] else [])]


def properties(column: Numbers) -> list[tuple[str, str]]:
    """All other statistics of a column as text, by name."""
    tokens, scripts = column["tokens"], column["scripts"].items()
    found = []
    if tokens:
        found += [
            ("tokens a unit", f"{tokens['per_unit']:.2f} a {unit_name(column)}"),
            ("tokens a character", f"{tokens['per_character']:.2f}"),
            ("fragments of characters", f"{percent(tokens['fragments'])} of tokens"),
            ("unknown tokens", percent(tokens["unknown"])),
            *((f"over {limit} tokens", percent(part)) for limit, part in tokens["longer_than"].items()),
        ]
    return [
        *found,
        ("wholly in language", percent(column["wholly_in_language"])),
        ("letters by script", ", ".join(f"{name} {percent(part)}" for name, part in scripts) or "no letters"),
        ("repeated texts", amount(column["duplicates"])),
    ]


def rows_read(file: Numbers) -> str:
    """Account of a file's rows: read = good + empty + bad, and the number of good rows dropped as duplicates."""
    bad = file["bad"]
    reasons = "; ".join(f"{count:,} {reason}" for reason, count in bad["reasons"].items())
    rows = [
        f"{file['read']:,} read = {file['good']:,} good",
        *([f"{file['empty']:,} empty (no text in a column)"] if file["empty"] else []),
        f"{bad['rows']:,} bad{f' ({reasons})' if reasons else ''}",
    ]
    return f"{' + '.join(rows)}; repeated rows: {amount(file['duplicates'])}"


def lines_read(file: Numbers) -> str:
    """Account of a file's lines: lines = good + bad + blank + …; counts of 0 are left out, except bad."""
    parts = {name: file[name] for name in ("empty", "skipped", "blank", "header", "continued") if file[name]}
    counts = {"good": file["good"], "bad": file["bad"]["rows"], **parts}
    return f"{file['lines']:,} lines = {' + '.join(f'{count:,} {name}' for name, count in counts.items())}"


def percent(part: float | None) -> str:
    """Share as a percentage, or a dash for ``None``; a share that only rounds to 0 or 100 % is shown as < or >."""
    if part is None:
        return "–"
    if 0 < part < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= part < 1:
        return "> 99.9 %"
    return f"{100 * part:.1f} %"


def amount(counted: Numbers) -> str:
    """Number of rows and their share, as text."""
    return f"{counted['rows']:,} ({percent(counted['share'])})" if counted["rows"] else "0"


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table

    from semalign_pl.messages.console import Text

    return Table(
        title=Text(title, style="bold"),
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )


def _of_file(file: Numbers) -> list[Table]:
    """Table of the lengths of each column, then tables of its other statistics."""
    from semalign_pl.messages.console import Text

    table = _table(file["name"])
    for name in ("column", "language", "length in"):
        table.add_column(name)
    for name in (*LENGTHS, "in all"):
        table.add_column(name, justify="right", no_wrap=True)
    for field, column in file["columns"].items():
        names = [column_name(field, column), column["language"]]
        for measure, numbers in measures(column):
            shown = [f"{numbers[name]:,}" for name in (*LENGTHS, "total")]
            table.add_row(*map(Text, names), measure, *shown)
            names = ["", ""]
    table.caption = Text("\n".join([rows_read(file), lines_read(file), *remarks(file)]))
    return [table, *_properties(file)]


def remarks(file: Numbers) -> list[str]:
    """Remarks on a file's statistics: columns left out, and a doubtful header."""
    names = [
        (name or "(no name)") + (f" (text in {percent(part)} of the first rows)" if 0 < part < FILLED else "")
        for name, part in file["left_out"].items()
    ]
    return [*([f"columns not counted: {', '.join(names)}"] if names else []), *filter(None, [file["doubt"]])]


def prepared(report: Numbers) -> str:
    """Line on the preparation of one corpus of a recipe: rows kept and dropped, or the error."""
    if "error" in report:
        return f"preparing {report['part']} stops: {report['error']}"
    rows = f"prepared {report['part']} {report['source']}: {report['read']:,} read = {report['kept']:,} kept"
    line = f"{rows} + {report['read'] - report['kept']:,} dropped" + (
        f" ({counts(report['dropped'])}; listed in {report['listed_in']})" if report["dropped"] else ""
    )
    line += f"; {report['prompts_cut']:,} prompts cut" if report["prompts_cut"] else ""
    if (new := report.get("new_tokens")) is None:
        return line
    (rows_before, rows_after), (before, after) = new["tokens_per_row"], new["tokens_per_character"]
    return (
        f"{line}; {new['added']:,} new tokens: {rows_before:.1f} to {rows_after:.1f} tokens per row, {before:.3f} to "
        f"{after:.3f} per character"
    )


def _properties(file: Numbers) -> list[Table]:
    from semalign_pl.messages.console import Text

    shown, columns = [], list(file["columns"].items())
    for start in range(0, len(columns), COLUMNS_A_TABLE):
        part = columns[start : start + COLUMNS_A_TABLE]
        table = _table("")
        table.title = None
        table.add_column("", no_wrap=True)
        for field, _ in part:
            table.add_column(Text(field))
        for rows in zip(*(properties(column) for _, column in part), strict=True):
            table.add_row(rows[0][0], *(value for _, value in rows))
        shown.append(table)
    return shown


def overview(files: Sequence[Numbers], with_columns: bool) -> Table:
    """Table with one line per file, and their sum.

    Args:
        files: Statistics of each file.
        with_columns: Add a column with the language and median length of each text column.
    """
    from semalign_pl.messages.console import Text

    table = _table("files")
    table.add_column("file")
    for name in ("lines", "read", "good", "empty", "bad", "repeated"):
        table.add_column(name, justify="right")
    if with_columns:
        table.add_column("columns: language, median length")
    for file in files:
        columns = "; ".join(
            f"{field}: {c['language']}, {c['units']['p50']:,} {unit_name(c)}s"
            + (f" = {c['tokens']['p50']:,} tokens" if c["tokens"] else "")
            for field, c in file["columns"].items()
        )
        numbers = (*(file[key] for key in _COUNTED), file["bad"]["rows"], file["duplicates"]["rows"])
        table.add_row(
            Text(file["name"]), *(f"{number:,}" for number in numbers), *([Text(columns)] if with_columns else [])
        )
    table.add_section()
    sums = [sum(file[key] for file in files) for key in _COUNTED]
    sums += [sum(file[key]["rows"] for file in files) for key in ("bad", "duplicates")]
    table.add_row("all", *(f"{number:,}" for number in sums))
    return table


def common(leakage: Sequence[Numbers]) -> Table:
    """Table of the pairs of files that have rows in common; pairs without are only counted in the caption."""
    from semalign_pl.messages.console import Text

    table = _table("rows in common")
    for name in ("of", "in"):
        table.add_column(name)
    for name in ("whole row", "a text of it", "nearly", "dropped from there"):
        table.add_column(name, justify="right")
    found = [pair for pair in leakage if leaks(pair)]
    for pair in found:
        texts = ", ".join(f"{name} {amount(found)}" for name, found in pair["columns"].items() if found["rows"]) or "0"
        near = "not looked for" if pair["near"] is None else amount(pair["near"])
        whole = "–" if pair["rows"] is None else amount(pair["rows"])
        table.add_row(Text(pair["of"]), Text(pair["in"]), whole, texts, near, amount(pair["dropped"]))
    table.caption = Text(pairs_note(leakage))
    return table


def leaks(pair: Numbers) -> int:
    """Number of equal texts and of near-duplicates that a pair of files has in common."""
    near = pair["near"]["rows"] if pair["near"] else 0
    return near + sum(counted["rows"] for counted in pair["columns"].values())


def pairs_note(leakage: Sequence[Numbers]) -> str:
    """Note on the number of pairs compared, and on pairs too long to search for near-duplicates."""
    clean = sum(not leaks(pair) for pair in leakage)
    unseen = sum(pair["near"] is None for pair in leakage)
    pairs = f"{len(leakage):,} {'pair' if len(leakage) == 1 else 'pairs'}"
    note = f"{pairs} of files compared, {clean:,} without anything in common"
    return note + (f"; near ones not looked for in {unseen:,} (both files long)" if unseen else "")
