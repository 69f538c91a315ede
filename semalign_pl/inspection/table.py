"""Statistics as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from semalign_pl.data.cleaning.preparation import Preparation
from semalign_pl.data.storing.cache import summary
from semalign_pl.inspection.columns import FILLED
from semalign_pl.inspection.lengths import Statistics

if TYPE_CHECKING:
    from rich.table import Table

DETAILED_FILES = 8
"""Maximum number of files with a table each; with more files, each has one line, and the page has the rest."""
COLUMNS_PER_TABLE = 3
_ROW_COUNTS = ("lines", "read", "good", "empty")
EXAMPLE = 200
"""Maximum number of characters of an example of a dropped row in the terminal."""
BREAKING = 4
"""Maximum number of lines on the characters that break the rule of a language in the terminal."""
LENGTHS = ("p5", "p50", "p95", "p99", "max")


def tables(result: Statistics) -> list[Table | str]:
    """Tables for the terminal: tables per file (or one of all files), then the rows that files have in common.

    Args:
        result: Dictionary of statistics from ``inspect``.

    Returns:
        Tables and notes to print, in order.
    """
    files = result["files"]
    detailed = len(files) <= DETAILED_FILES
    printed: list[Table | str] = [table for file in files for table in _of_file(file)] if detailed else []
    if len(files) > 1:
        printed.append(overview(files, with_columns=not detailed))
    if any(map(count_common, result["leakage"])):
        return [*printed, common(result["leakage"])]
    return [*printed, *([pairs_note(result["leakage"])] if result["leakage"] else [])]


def column_name(field: str, column: Statistics) -> str:
    """Name of the field, followed by the file's column if its name differs."""
    return field if field == column["column"] else f"{field} ({column['column']})"


def unit_name(column: Statistics) -> str:
    """Name of a column's unit, singular.

    ``unit`` rather than ``character`` for Chinese, where a foreign word or a number is one unit.
    """
    return "unit" if column["unit"] == "character" else column["unit"]


def measures(column: Statistics) -> list[tuple[str, Statistics]]:
    """Length statistics of a column, by the name of what is counted: characters, units and, with a model, tokens."""
    found = [("characters", column["characters"]), (f"{unit_name(column)}s", column["units"])]
    return [*found, *([("tokens", column["tokens"])] if column["tokens"] else [])]


def properties(column: Statistics) -> list[tuple[str, str]]:
    """All other statistics of a column as text, by name."""
    tokens, scripts = column["tokens"], column["scripts"].items()
    found = []
    if tokens:
        found += [
            ("tokens per unit", f"{tokens['per_unit']:.2f} per {unit_name(column)}"),
            ("tokens per character", f"{tokens['per_character']:.2f}"),
            ("fragments of characters", f"{percent(tokens['fragments'])} of tokens"),
            ("unknown tokens", percent(tokens["unknown"])),
            *((f"over {limit} tokens", percent(share)) for limit, share in tokens["longer_than"].items()),
        ]
    return [
        *found,
        ("wholly in language", percent(column["wholly_in_language"])),
        ("characters that break it", "\n".join(break_lines(column)[:BREAKING]) or "–"),
        ("letters by script", ", ".join(f"{name} {percent(share)}" for name, share in scripts) or "no letters"),
        ("repeated texts", amount(column["duplicates"])),
    ]


def rows_read(file: Statistics) -> str:
    """Account of a file's rows: read = good + empty + bad, and the number of good rows dropped as duplicates."""
    bad = file["bad"]
    reasons = "; ".join(f"{count:,} {reason}" for reason, count in bad["reasons"].items())
    rows = [
        f"{file['read']:,} read = {file['good']:,} good",
        *([f"{file['empty']:,} empty (no text in a column)"] if file["empty"] else []),
        f"{bad['rows']:,} bad{f' ({reasons})' if reasons else ''}",
    ]
    return f"{' + '.join(rows)}; repeated rows: {amount(file['duplicates'])}"


def lines_read(file: Statistics) -> str:
    """Account of a file's lines: lines = good + bad + blank + …; counts of 0 are left out, except bad."""
    others = {name: file[name] for name in ("empty", "skipped", "blank", "header", "continued") if file[name]}
    counts = {"good": file["good"], "bad": file["bad"]["rows"], **others}
    return f"{file['lines']:,} lines = {' + '.join(f'{count:,} {name}' for name, count in counts.items())}"


def percent(share: float | None) -> str:
    """Share as a percentage, or a dash for ``None``; a share that only rounds to 0 or 100 % is shown as < or >."""
    if share is None:
        return "–"
    if 0 < share < 0.0005:
        return "< 0.1 %"
    if 0.9995 <= share < 1:
        return "> 99.9 %"
    return f"{100 * share:.1f} %"


def amount(counted: Statistics) -> str:
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


def _of_file(file: Statistics) -> list[Table]:
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
    table.caption = Text("\n".join([rows_read(file), lines_read(file), *remarks(file), *drop_lines(file)]))
    return [table, *_properties(file)]


def remarks(file: Statistics) -> list[str]:
    """Remarks on a file's statistics: columns left out, and a doubtful header."""
    names = [
        (name or "(no name)") + (f" (text in {percent(share)} of the first rows)" if 0 < share < FILLED else "")
        for name, share in file["left_out"].items()
    ]
    return [*([f"columns not counted: {', '.join(names)}"] if names else []), *filter(None, [file["doubt"]])]


def describe_preparation(report: Statistics) -> str:
    """Line on the preparation of one corpus of a recipe: rows kept and dropped, or the error."""
    if "error" in report:
        return f"preparing {report['part']} stops: {report['error']}"
    listed = f" (listed in {report['listed_in']})" if report["dropped"] else ""
    line = f"prepared {report['part']} {_summary(report['source'], report)}{listed}"
    line += f"; {report['prompts_cut']:,} prompts cut" if report["prompts_cut"] else ""
    if (new := report.get("new_tokens")) is None:
        return line
    (rows_before, rows_after), (before, after) = new["tokens_per_row"], new["tokens_per_character"]
    return (
        f"{line}; {new['added']:,} new tokens: {rows_before:.1f} to {rows_after:.1f} tokens per row, {before:.3f} to "
        f"{after:.3f} per character"
    )


def _summary(source: str, report: Statistics) -> str:
    return summary({"source": source, "read": report["read"], "kept": report["kept"], "dropped": report["dropped"]})


def drop_lines(file: Statistics) -> list[str]:
    """Lines on the rows that preparation drops from a file: a summary, an example per reason, and pairs off the ratio.

    Args:
        file: Statistics of the file.
    """
    prepare = file["prepare"]
    settings = "prepare: {}" if prepare["settings"] == asdict(Preparation()) else "the recipe's prepare"
    if prepare["stops"]:
        return [f"{settings} stops: {prepare['stops']}"]
    rows = _summary(file["name"], prepare)
    notes = [f"leaks of {', '.join(prepare['against'])}"] if prepare["against"] else []
    if prepare["unsearched"]:
        notes = [f"leaks were not looked for: {prepare['unsearched']:,} held-out rows; name the splits with --splits"]
    if "bad_row" in prepare["dropped"]:
        notes.append("bad rows stop it unless bad_rows is quarantine")
    lines = ["; ".join([f"trained on with {settings}, {rows}", *notes])]
    for reason, example in prepare["examples"].items():
        texts = [example["id"], example["detail"], " | ".join(example["row"].values())]
        line = " ".join(f"{reason.replace('_', ' ')}: {': '.join(filter(None, texts))}".split())
        lines.append(line if len(line) <= EXAMPLE else f"{line[:EXAMPLE]}…")
    if (ratio := prepare["length_ratio"]) and ratio["rows"]:
        pairs = ", ".join(f"{pair['id']} {pair['times']:.2f} times" for pair in ratio["examples"])
        one, two = ratio["fields"]
        lines.append(f"off the length ratio, whose median is {ratio['median']:.2f} {two} per {one}: {pairs}")
    return lines


def _quote(character: str) -> str:
    """Character as it is, or nothing if it cannot be seen: its code point follows."""
    return character if character.isprintable() and not character.isspace() else ""


def break_lines(column: Statistics) -> list[str]:
    """Characters for which texts are not wholly in their language, the most frequent first, one per line.

    Args:
        column: Statistics of the column.
    """
    breaking = column["breaking_characters"]
    if not breaking or not breaking["texts"]:
        return []
    lines = [
        f"{_quote(one['character'])} {one['code_point']} {one['name']}: "
        f"{one['occurrences']:,} times in {one['texts']:,} {'text' if one['texts'] == 1 else 'texts'}".strip()
        for one in breaking["most_frequent"]
    ]
    more = breaking["distinct"] - len(breaking["most_frequent"])
    lines += [f"{more:,} further characters"] * (more > 0)
    if breaking["without"]:
        lines.append(f"no such character, but padding, no letter, or a misplaced mark: {breaking['without']:,} texts")
    return lines


def _properties(file: Statistics) -> list[Table]:
    from semalign_pl.messages.console import Text

    shown, columns = [], list(file["columns"].items())
    for start in range(0, len(columns), COLUMNS_PER_TABLE):
        together = columns[start : start + COLUMNS_PER_TABLE]
        table = _table("")
        table.title = None
        table.add_column("", no_wrap=True)
        for field, _ in together:
            table.add_column(Text(field))
        for rows in zip(*(properties(column) for _, column in together), strict=True):
            table.add_row(rows[0][0], *(value for _, value in rows))
        shown.append(table)
    return shown


def overview(files: Sequence[Statistics], with_columns: bool) -> Table:
    """Table with one line per file, and their sum.

    Args:
        files: Statistics of each file.
        with_columns: Flag to add a column with the language and median length of each text column.
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
        numbers = (*(file[key] for key in _ROW_COUNTS), file["bad"]["rows"], file["duplicates"]["rows"])
        table.add_row(
            Text(file["name"]), *(f"{number:,}" for number in numbers), *([Text(columns)] if with_columns else [])
        )
    table.add_section()
    sums = [sum(file[key] for file in files) for key in _ROW_COUNTS]
    sums += [sum(file[key]["rows"] for file in files) for key in ("bad", "duplicates")]
    table.add_row("all", *(f"{number:,}" for number in sums))
    return table


def common(leakage: Sequence[Statistics]) -> Table:
    """Table of the pairs of files that have rows in common; pairs without are only counted in the caption."""
    from semalign_pl.messages.console import Text

    table = _table("rows in common")
    for name in ("of", "in"):
        table.add_column(name)
    for name in ("whole row", "a text of it", "nearly", "dropped from there"):
        table.add_column(name, justify="right")
    found = [pair for pair in leakage if count_common(pair)]
    for pair in found:
        texts = ", ".join(f"{name} {amount(found)}" for name, found in pair["columns"].items() if found["rows"]) or "0"
        near_duplicates = "not looked for" if pair["near"] is None else amount(pair["near"])
        whole = "–" if pair["rows"] is None else amount(pair["rows"])
        table.add_row(Text(pair["of"]), Text(pair["in"]), whole, texts, near_duplicates, amount(pair["dropped"]))
    table.caption = Text(pairs_note(leakage))
    return table


def count_common(pair: Statistics) -> int:
    """Number of equal texts and of near-duplicates that a pair of files has in common."""
    near_duplicates = pair["near"]["rows"] if pair["near"] else 0
    return near_duplicates + sum(equal["rows"] for equal in pair["columns"].values())


def pairs_note(leakage: Sequence[Statistics]) -> str:
    """Note on the number of pairs compared, and on pairs too long to search for near-duplicates."""
    clean = sum(not count_common(pair) for pair in leakage)
    unseen = sum(pair["near"] is None for pair in leakage)
    pairs = f"{len(leakage):,} {'pair' if len(leakage) == 1 else 'pairs'}"
    note = f"{pairs} of files compared, {clean:,} without anything in common"
    return note + (f"; near ones not looked for in {unseen:,} (both files long)" if unseen else "")
