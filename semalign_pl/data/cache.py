"""Prepared corpora on disk: each a folder of the cache, named by all that its content depends on."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semalign_pl.data.table import Table
from semalign_pl.json_text import to_json

CACHE = Path(".semalign_cache/corpora")


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

    Args:
        folder: Where it lies or will lie.
        make: Fills the folder that it is given, and returns the report.
    """
    if (folder / "report.json").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        made = Path(name) / "made"
        made.mkdir()
        report = make(made)
        (made / "report.json").write_text(to_json(report, folder / "report.json", indent=1) + "\n", encoding="utf-8")
        with contextlib.suppress(OSError):  # another process was quicker
            os.rename(made, folder)
    return folder


def summary(report: Mapping[str, Any]) -> str:
    """A report in words: how many rows were read and kept, and why the others were not."""
    text = f"{report['source']}: {report['read']:,} rows read, {report['kept']:,} kept"
    text += f"; dropped {counts(report['dropped'])}" if report["dropped"] else ""
    return text + (f"; {cut:,} prompts cut" if (cut := report.get("prompts_cut")) else "")


def counts(dropped: Mapping[str, int]) -> str:
    """Rows by reason, in words."""
    return ", ".join(f"{count:,} {reason.replace('_', ' ')}" for reason, count in dropped.items())
