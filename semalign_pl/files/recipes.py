"""The recipes that ship with the package: ``--config configs/…`` works wherever the command is run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "configs"
"""In an installed package a folder, in a checkout a link to its top-level ``configs``."""
FLAGS = ("-c", "--config")


def locate_recipes(args: Sequence[str]) -> list[str]:
    """Replace ``--config configs/…`` by the package's own recipe where the working folder has none of that name.

    Says so in one line on stderr per recipe: a path that is read from elsewhere must not go unseen.

    Args:
        args: Command and flags.

    Returns:
        The arguments, all others unchanged; a path that neither has is left for the command to refuse.
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
