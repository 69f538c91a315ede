"""Prepared corpora on disk: each a folder of the cache, named by all that its content depends on."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

from semalign_pl.data.table import Table
from semalign_pl.files.atomic import move_folder, temporary_folder
from semalign_pl.files.json_text import to_json
from semalign_pl.files.unfinished import PREFIX, remove_dead

log = logging.getLogger(__name__)

CACHE = Path(".semalign_cache/corpora")
CHECKSUMS = "checksums.json"
"""Length and checksum of each file of an entry, and the entry's name."""
_UNFINISHED_BEFORE = "." + 24 * "[0-9a-f]" + "-????????"
"""Names of what version 0.1.0 was still writing."""


@dataclass(frozen=True)
class Prepared:
    """A prepared corpus on disk.

    Attributes:
        table: Its rows: ``id`` and the fields.
        report: ``source``, ``lines`` (= ``read`` + ``blank`` + ``header`` + ``continued`` + ``skipped``, see `Counts`),
            ``read``, ``kept``, ``dropped`` (reason to number) and the settings.
        folder: Where they lie; ``dropped.jsonl`` in it lists what was dropped.
    """

    table: Table
    report: dict[str, Any]
    folder: Path

    @property
    def unused(self) -> int:
        """Rows of the table that are not kept: they were dropped when their tokens were counted."""
        return len(self.table) - self.report["kept"]


def opened(folder: Path) -> Prepared:
    """A prepared corpus in its folder."""
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return Prepared(Table(folder / "rows.arrow"), report, folder)


def cached(folder: Path, make: Callable[[Path], dict[str, Any]]) -> Path:
    """A folder of the cache; made whole or not at all, also where several processes come to it at once.

    Every file is read and compared with its checksum each time: a table takes less time to read than the corpus that it
    was made of, which is read for its key each time, too. A damaged folder is made anew; a process that has its files
    open keeps what it opened.

    Args:
        folder: Folder of the entry, which may not exist yet.
        make: Fills the folder that it is given, and returns the report.

    Raises:
        WriteError: If there is no room for it.
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
        if find_damage(folder) is not None:  # else another process was quicker
            move_folder(made, folder)
    return folder


def find_damage(folder: Path) -> str | None:
    """Name the file of a cache entry that is not as it was written, and what is wrong with it; None if none is."""
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


def summary(report: Mapping[str, Any]) -> str:
    """A report in words: how many rows were read and kept, and why the others were not."""
    text = f"{report['source']}: {report['read']:,} rows read, {report['kept']:,} kept"
    text += f"; dropped {counts(report['dropped'])}" if report["dropped"] else ""
    return text + (f"; {cut:,} prompts cut" if (cut := report.get("prompts_cut")) else "")


def counts(dropped: Mapping[str, int]) -> str:
    """Rows by reason, in words."""
    return ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in dropped.items())
