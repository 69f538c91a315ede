"""The miniature world with few general texts and questions, for tests of commands whose probes read all of them."""

from __future__ import annotations

import json
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell


def shorten(world: Path) -> None:
    """Keep the first 12 Chinese texts of the drift probe and the first 6 passages of the reading comprehension.

    Args:
        world: Folder that ``python -m semalign_pl.toy write`` wrote.
    """
    texts, passages = world / "chinese.txt", world / "reading_comprehension.json"
    lines = texts.read_text(encoding="utf-8").splitlines(keepends=True)
    texts.write_text("".join(lines[:12]), encoding="utf-8")
    squad = json.loads(passages.read_text(encoding="utf-8"))
    passages.write_text(json.dumps({**squad, "data": squad["data"][:6]}, ensure_ascii=False), encoding="utf-8")


def shorten_in(notebook: NotebookNode, written: str, world: str) -> None:
    """Add a cell that shortens the world after the cell that writes it.

    Args:
        notebook: Notebook to change.
        written: Part of the cell that writes the world.
        world: Python expression for the folder of the world.
    """
    (place,) = (i for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and written in cell.source)
    tests = str(Path(__file__).parents[1])
    lines = ["import sys", "from pathlib import Path", f"sys.path.append({tests!r})"]
    lines += ["from helpers.short_world import shorten", f"shorten(Path({world}))"]
    notebook.cells.insert(place + 1, new_code_cell("\n".join(lines)))
