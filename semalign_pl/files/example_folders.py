"""Folders that ``semalign data NAME`` makes, and the remedy for a file that is missing from one of them."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path("data")
"""Folder below the working folder that holds the data sets, one folder each."""
NAMES = ("sample", "sib200", "cmrc2018", "mitra", "smollm2", "choices", "blimp", "xquad")
"""Names of the data sets, in the order in which they are listed."""
RECORD = "SOURCE.json"
"""File in a data set's folder that records its licence, source and checksums."""

_PAIRS = (
    "put your own file there, or let `semalign init` make recipes for it; `semalign data` lists public data sets, of "
    "which `semalign data mitra` has the most pairs"
)
_OBJECTS = (
    "put pairs there, one object per line with the columns en and dz; configs/real/study.yaml says where ours are from"
)
OWN_FILES = {
    "data/train.jsonl": _PAIRS,
    "data/dev.jsonl": _PAIRS,
    "data/test.jsonl": _PAIRS,
    "data/en_dz/train.jsonl": _OBJECTS,
    "data/en_dz/dev.jsonl": _OBJECTS,
    "data/zh.txt": "put Chinese text there, one text per line",
    "models/cino-bo-zh": "train it on your pairs with a copy of embedder.yaml (semalign recipes copy), whose lines "
    "marked CINO name the settings; then copy runs/embedder/encoder there",
}
"""Files that the recipes in ``configs/paper`` name and that nobody can ship, and what to do about each."""


def remedy(path: str | Path) -> str:
    """Return the end of a message about a missing file: the command that gets it, or what it is, or nothing.

    Args:
        path: File that is missing.

    Returns:
        Text that begins with a semicolon if the path begins with the folder of a data set, or is one of `OWN_FILES`;
        otherwise an empty text.
    """
    names = Path(os.path.relpath(path)).parts
    if own := OWN_FILES.get("/".join(names)):
        return f"; {own}"
    if len(names) < 2 or names[0] != ROOT.name or names[1] not in NAMES:
        return ""
    return f"; `semalign data {names[1]}` gets it"
