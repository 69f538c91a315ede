"""``semalign corpus`` counts exactly what preparation does, on every file of the tests that can be read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.drop_counts import compare_drops
from helpers.malformed_files import CASES, FAULT, Case, write

from semalign_pl.data.cleaning.prepare import CorpusRequest
from semalign_pl.inspection.inspect import inspect

READABLE = [case for case in CASES if case.bad != FAULT]


@pytest.mark.parametrize("case", READABLE, ids=[ascii(case.name)[1:40] for case in READABLE])
def test_the_command_counts_what_preparation_does_on_every_hostile_file(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read, good, bad and empty rows, every reason of drops, and what is kept; with columns named and guessed."""
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path / "data")
    source = write(case, tmp_path / "data")
    for columns in ({}, case.columns):
        try:
            result, (file,) = inspect([CorpusRequest(source, columns)], None, [256])
        except ValueError as error:
            assert "; " in str(error) and not (columns and case.good)  # no column holds text
            continue
        compare_drops(result["files"][0], file.corpus.request, tmp_path / "cache")


def test_the_command_counts_what_preparation_does_in_the_miniature_world(tmp_path: Path, miniature: Path) -> None:
    shutil.copytree(miniature, tmp_path / "world")
    files = [str(path) for path in sorted((tmp_path / "world").rglob("*.jsonl"))]
    assert len(files) >= 3
    for file in files:
        lines = Path(file).read_text(encoding="utf-8").splitlines(keepends=True)
        Path(file).write_text("".join(lines[:600]), encoding="utf-8")
    result, measured = inspect([CorpusRequest(file, {}) for file in files], None, [256])
    requests = [file.corpus.request for file in measured]
    names = [file["name"] for file in result["files"]]
    for file, request in zip(result["files"], requests, strict=True):
        against = [requests[names.index(name)] for name in file["prepare"]["against"]]
        compare_drops(file, request, tmp_path / "cache", against)
