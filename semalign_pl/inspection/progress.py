"""How far a long count has come, on stderr."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int], None]]:
    """A line for each thing that is done, with its rows and their rate, on a terminal; nothing elsewhere.

    Yields:
        A function to tell what is done and how many rows of it are new.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = SpinnerColumn(), "{task.description}", TextColumn("{task.completed:,.0f} rows"), TimeElapsedColumn()
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:

        def advance(what: str, rows: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=None)
            bar.advance(tasks[what], rows)

        yield advance
