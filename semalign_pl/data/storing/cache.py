"""Prepared corpora on disk. Each is a folder of the cache, named by a hash of everything its content depends on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import xxhash

from semalign_pl.data.storing.table import Table
from semalign_pl.files.atomic import move_folder, temporary_folder
from semalign_pl.files.json_text import to_json
from semalign_pl.files.unfinished import PREFIX, remove_dead

log = logging.getLogger(__name__)

CACHE = Path(".semalign_cache/corpora")
CHECKSUMS = "checksums.json"
"""Name of the file with the entry's name, and with the size and checksum of each file of the entry."""
_UNFINISHED_BEFORE = "." + 24 * "[0-9a-f]" + "-????????"
"""Glob pattern of the unfinished folders that version 0.1.0 could leave."""


class _RowCounts(TypedDict):
    source: str
    read: int
    kept: int
    dropped: dict[str, int]


class RowReport(_RowCounts, total=False):
    """Account of a corpus' rows: ``read = kept + dropped``, by reason.

    The licence is the one that the source states, if any. Tokenising adds the number of prompts cut, and for raw text the number of rows that the documents were packed into,
    for other tasks the limits in tokens that would keep 99 % of the rows: of prompts as ``prompt_too_long``, of
    references as ``answer_too_long``.
    """

    licence: str
    prompts_cut: int
    packed: int
    keeping: dict[str, int]


class PreparationReport(RowReport):
    """Account of a prepared corpus.

    Lines are counted by kind (``lines = read + blank + header + continued + skipped``, see `Counts`). ``prepare`` and
    ``bad_rows`` are the settings.
    """

    lines: int
    blank: int
    header: int
    continued: int
    skipped: int
    prepare: dict[str, object] | None
    bad_rows: str


@dataclass(frozen=True)
class Prepared:
    """A prepared corpus on disk.

    Attributes:
        table: Rows of the corpus: ``id`` and the fields.
        report: Number of rows read, kept and dropped per reason, and the settings.
        folder: Folder of the table and the report; ``dropped.jsonl`` in it lists the dropped rows.
    """

    table: Table
    report: PreparationReport
    folder: Path

    @property
    def unused(self) -> int:
        """Number of rows in the table that are not used, because tokenising dropped them."""
        return len(self.table) - self.report.get("packed", self.report["kept"])


def open_prepared(folder: Path) -> Prepared:
    """Open a prepared corpus.

    Args:
        folder: Folder of the cache entry.
    """
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return Prepared(Table(folder / "rows.arrow"), report, folder)


def get_or_make(folder: Path, make: Callable[[Path], Mapping[str, object]]) -> Path:
    """Return a folder of the cache; make it first if it is missing or damaged.

    The folder is made completely or not at all, even if several processes make it at the same time.

    Every file is compared with its checksum each time. This is cheap: the corpus itself is also read each time, for its
    key, and its table takes less time to read. If a damaged folder is made anew, a process with open files keeps the
    old files.

    Args:
        folder: Folder of the entry, which may not exist yet.
        make: Function that fills the folder it is given, and returns the report.

    Returns:
        ``folder``.

    Raises:
        WriteError: If the disk has no room for the entry.
    """
    for pattern in (f"{PREFIX}*", _UNFINISHED_BEFORE):
        remove_dead(folder.parent, pattern)
    if (damage := find_damage(folder)) is None:
        return folder
    if folder.exists():
        log.warning("%s: the prepared corpus is damaged (%s); it is prepared anew", folder, damage)
    with temporary_folder(folder.parent, folder) as beside:
        made = beside / folder.name
        made.mkdir()
        report = make(made)
        report_file = folder / "report.json"
        (made / "report.json").write_text(to_json(report, report_file, indent=1) + "\n", encoding="utf-8")
        files = {path.name: [path.stat().st_size, _checksum(path)] for path in sorted(made.iterdir())}
        (made / CHECKSUMS).write_text(json.dumps({"entry": folder.name, "files": files}), encoding="utf-8")
        if find_damage(folder) is not None:  # false if another process was faster
            move_folder(made, folder)
    return folder


def find_damage(folder: Path) -> str | None:
    """Find the first file of a cache entry that differs from what was written.

    Args:
        folder: Folder of the entry.

    Returns:
        Name of the file and its fault, for messages; ``None`` if the entry is intact.
    """
    try:
        recorded = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        entry = recorded["entry"]
        files = [(name, size, checksum) for name, (size, checksum) in recorded["files"].items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{CHECKSUMS}: {'it is missing' if isinstance(error, FileNotFoundError) else 'it cannot be read'}"
    if entry != folder.name:
        return f"{CHECKSUMS}: it is that of {entry}"
    for name, size, checksum in files:
        try:
            if (now := (folder / name).stat().st_size) != size:
                return f"{name}: {now} bytes instead of {size}"
            if _checksum(folder / name) != checksum:
                return f"{name}: its checksum is wrong"
        except OSError as error:
            return f"{name}: {error.strerror}"
    return None


def _checksum(path: Path) -> str:
    digest, chunk = xxhash.xxh3_128(), memoryview(bytearray(1 << 20))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(chunk):
            digest.update(chunk[:size])
    return digest.hexdigest()


def summary(report: RowReport) -> str:
    """One line of text from a report: numbers of rows read, kept, and dropped per reason.

    Args:
        report: Account of the rows.
    """
    text = f"{report['source']}: {report['read']:,} rows read, {report['kept']:,} kept"
    text += f"; licence: {licence}" if (licence := report.get("licence")) else ""
    text += f"; dropped {format_counts(report['dropped'])}" if report["dropped"] else ""
    text += f"; packed into {packed:,} rows" if (packed := report.get("packed")) else ""
    return text + (f"; {cut:,} prompts cut" if (cut := report.get("prompts_cut")) else "")


def format_counts(dropped: Mapping[str, int]) -> str:
    """Number of dropped rows per reason, as text.

    Args:
        dropped: Number of rows per reason.
    """
    return ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in dropped.items())
