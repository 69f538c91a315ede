"""``semalign report``: table, verdicts, picture and page of a study that was run before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line


def run(args: Sequence[str]) -> int:
    """Run ``semalign report``.

    Args:
        args: Name of the command, then its flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    description = "Print a study's table and verdicts, and write its picture and its page."
    parser = CommandParser(prog="semalign report", description=description, allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="folder of a study")
    with one_line() as status:
        show(parser.parse_args(list(args[1:])).folder)
    return status.code


def show(folder: Path) -> None:
    """Print a table per task and the verdicts, and write report and picture.

    Args:
        folder: Folder of the study.

    Raises:
        ValueError: If ``results.json`` is missing or malformed.
    """
    from semalign_pl.messages.console import Console
    from semalign_pl.report import comparison, load_results, verdicts, write_report
    from semalign_pl.report.judge_sentences import judge_sentences
    from semalign_pl.report.paper_tables_text import paper_table, render_tables
    from semalign_pl.report.recipes import read_tasks
    from semalign_pl.report.results import parse
    from semalign_pl.report.task_table import by_task

    console = Console()
    results = load_results(folder / "results.json")
    parsed = parse(results)
    tables = by_task(results, parsed, read_tasks(folder, parsed))
    for task, of_task in tables.items():
        if len(tables) > 1:
            console.print(f"{task.title or 'Other task'}, {task.test}")
        console.print(comparison(of_task))
    for sentence in verdicts(results):
        console.print(sentence)
    for sentence in judge_sentences(results, parsed):
        console.print(sentence)
    for table in render_tables(results, parsed):
        console.print(paper_table(table))
        for sentence in table["sentences"]:
            console.print(sentence)
    console.print(f"report: {write_report(folder)}")
