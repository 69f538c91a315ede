"""Progress on stderr: a bar with the time left on a terminal, else a line per minute."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from semalign_pl.messages.page import format_seconds

_SECONDS_PER_LINE = 60.0


class Progress:
    """Progress of a number of rows, used as a context.

    Args:
        total: Number of rows.
        done: Number of rows that are done already.
        unit: Plural of what is counted, for the lines.
    """

    def __init__(self, total: int, done: int = 0, unit: str = "rows") -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        from semalign_pl.messages.console import Console

        console = Console(stderr=True)
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("time left"), TimeRemainingColumn())
        self._bar = Bar(
            *columns,
            console=console,
            disable=not console.is_terminal,
            transient=True,
            # Otherwise Rich would print answers above the bar, on stderr, also those that the user sends to a file.
            redirect_stdout=sys.stdout.isatty(),
        )
        self._task = self._bar.add_task("", total=total, completed=done)
        self._total, self._done, self._first, self._unit = total, done, done, unit
        self._begun = self._told = time.monotonic()

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def add(self, rows: int) -> None:
        """Count rows that are done.

        Args:
            rows: Number of further rows.
        """
        self._done += rows
        self._bar.update(self._task, advance=rows)
        now = time.monotonic()
        if self._bar.disable and now - self._told > _SECONDS_PER_LINE:
            self._told = now
            left = (now - self._begun) / (self._done - self._first) * (self._total - self._done)
            text = f"{self._done:,} of {self._total:,} {self._unit}, {format_seconds(left)} left"
            print(text, file=sys.stderr, flush=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()
