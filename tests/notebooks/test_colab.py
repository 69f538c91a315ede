"""Colab notebooks run as far as a machine without GPU, hub and their long cells can; the rest is checked as text."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest
from helpers.short_world import shorten_in
from nbclient import NotebookClient

from semalign_pl.__main__ import COMMANDS

ROOT = Path(__file__).parents[2]
NOT_HERE = {"colab": "installs the package", "long": "tested by its own command"}
"""Tags of cells that a test does not run, with the reason."""


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def run(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    """Run the cells of a notebook in a folder; returns what they printed."""
    notebook = read(name)
    notebook.cells = [cell for cell in notebook.cells if not NOT_HERE.keys() & set(cell.metadata.get("tags", []))]
    if name == "colab_miniature":
        shorten_in(notebook, "semalign_pl.toy write", "'runs/quickstart/world'")
    semalign = folder / "bin" / "semalign"
    semalign.parent.mkdir()
    semalign.write_text('#!/bin/sh\nexec python -m semalign_pl "$@"\n')
    semalign.chmod(0o755)
    path = os.pathsep.join([str(semalign.parent), str(ROOT / ".venv" / "bin"), os.environ["PATH"]])
    for key, value in {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **variables}.items():
        monkeypatch.setenv(key, value)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(str(one.get("text", "")) + str(one.get("data", {}).get("text/plain", "")) for one in outputs)


@pytest.mark.slow
def test_the_miniature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run("colab_miniature", tmp_path, monkeypatch, STEPS="2", ROWS="8")
    assert "chrf" in shown and (tmp_path / "runs/quickstart/semantic_grpo/adapter").is_dir()


@pytest.mark.slow
@pytest.mark.skipif(not {"init", "translate"} <= set(COMMANDS), reason="needs semalign init and translate")
def test_the_way_to_a_real_model(tmp_path: Path, miniature: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the miniature base and encoder in place of those of the hub, and one step per stage."""
    shown = run(
        "colab_real_model",
        tmp_path,
        monkeypatch,
        BASE=str(miniature / "base"),
        ENCODER=str(miniature / "encoder"),
        FLAGS="--trainer.max_steps 1 --trainer.accelerator cpu",
    )
    assert (tmp_path / "my/runs/grpo/adapter").is_dir() and shown


@pytest.mark.parametrize("name", ["colab_miniature", "colab_real_model"])
def test_cells_are_stored_without_output_and_stop_at_a_mistake(name: str) -> None:
    for cell in read(name).cells:
        assert not cell.get("outputs")
        if cell.source.startswith("%%bash"):
            assert cell.source.splitlines()[1] == "set -e"
