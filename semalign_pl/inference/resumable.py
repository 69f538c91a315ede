"""Output file of JSON lines that takes hours to write: after a kill, a later process continues it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType

from semalign_pl.files.atomic import append_text, replace_file
from semalign_pl.types import Json

SUFFIX = ".unfinished"


class ResumableLines:
    """Lines of an output file; a killed process leaves them in ``FILE.unfinished``, and a later one continues there.

    Used as a context, in which no other process writes them.

    The first line of the unfinished file holds the grounds: everything that the lines depend on. They are compared
    before a later process goes on.

    Args:
        path: Output file, which is there only when it is whole.
        grounds: Everything that the lines depend on, by name.

    Attributes:
        path: Output file.
        unfinished: File with the lines so far.
        done: Number of lines that are written.

    Raises:
        ValueError: If the output file is there already, or the unfinished one has other grounds.
        WriteError: If the file cannot be written.
    """

    def __init__(self, path: Path, grounds: Mapping[str, Json]) -> None:
        self.path, self.unfinished, self.done = path, path.with_name(path.name + SUFFIX), 0
        if path.exists():
            raise ValueError(f"--out: {path} is there already; give another file, or delete it")
        if not self.unfinished.exists():
            append_text(self.unfinished, _line(dict(grounds)))
        self._lock()
        append_text(self.unfinished, "")  # removes half a line
        with self.unfinished.open(encoding="utf-8") as file:
            first = file.readline()
            self.done = sum(1 for _ in file)
        if other := self._differences(first, grounds):
            self._locked.close()
            raise ValueError(
                f"--out: {self.unfinished} holds {self.done} rows that were made with other {' and '.join(other)}; "
                "give the same ones to go on with it, give another file, or delete it"
            )

    def _lock(self) -> None:
        """Keep other processes from the file, until this one ends."""
        self._locked = self.unfinished.open("rb")
        try:
            fcntl.flock(self._locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._locked.close()
            raise ValueError(
                f"--out: another process is writing {self.unfinished}; wait for it, or give another file"
            ) from error

    def __enter__(self) -> ResumableLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._locked.close()

    def _differences(self, first: str, grounds: Mapping[str, Json]) -> list[str]:
        try:
            before = json.loads(first)
        except ValueError:
            before = None
        if not isinstance(before, dict):
            return ["settings"]
        return [name for name in grounds if before.get(name) != grounds[name]]

    def write(self, rows: Iterable[Mapping[str, Json]]) -> None:
        """Add rows, all or none of them.

        Args:
            rows: Rows to add, each a line.
        """
        lines = [_line(dict(row)) for row in rows]
        append_text(self.unfinished, "".join(lines))
        self.done += len(lines)

    def finish(self) -> None:
        """Make the output file of the lines, without the grounds."""
        with self.unfinished.open("rb") as lines, replace_file(self.path) as file:
            lines.readline()
            file.writelines(lines)
        self.unfinished.unlink()


def _line(row: dict[str, Json]) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
