"""Recipes that ship with the package, so that ``--config configs/…`` works in every working folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "configs"
"""Folder of the recipes. In a checkout of the repository it is a link to the top-level ``configs``."""
FLAGS = ("-c", "--config")


def locate_recipes(args: Sequence[str]) -> list[str]:
    """Replace ``--config configs/…`` by the package's own recipe if the working folder has no such file.

    Each replacement is reported in one line on stderr, so that the user sees which file is read.

    Args:
        args: Command and flags.

    Returns:
        Arguments with the recipes replaced. A path that exists in neither place is kept, and the command refuses it.
    """
    located = []
    for before, arg in zip(["", *args], args, strict=False):
        flag, equals, value = arg.partition("=")
        if equals and flag in FLAGS:
            located.append(flag + equals + _locate(value))
        else:
            located.append(_locate(arg) if before in FLAGS else arg)
    return located


def _locate(path: str) -> str:
    shipped = FOLDER.parent / path
    if Path(path).parts[:1] != (FOLDER.name,) or Path(path).exists() or not shipped.exists():
        return path
    print(f"semalign: {path} is not in this folder; read from the package: {shipped}", file=sys.stderr)
    return str(shipped)
