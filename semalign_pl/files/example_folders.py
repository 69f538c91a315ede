"""Folders that ``semalign data NAME`` makes, and the remedy for a file that is missing from one of them."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path("data")
"""Folder below the working folder that holds the data sets, one folder each."""
NAMES = ("sample", "sib200", "cmrc2018", "mitra")
"""Names of the data sets, in the order in which they are listed."""


def remedy(path: str | Path) -> str:
    """Return the end of a message about a missing file: the command that gets it, or nothing.

    Args:
        path: File that is missing.

    Returns:
        Text that begins with a semicolon if the path begins with the folder of a data set; otherwise an empty text.
    """
    names = Path(os.path.relpath(path)).parts
    if len(names) < 2 or names[0] != ROOT.name or names[1] not in NAMES:
        return ""
    return f"; `semalign data {names[1]}` gets it"
