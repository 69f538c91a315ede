"""A data set's folder: whole or not there, with a record, and checked when it is there."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from semalign_pl.example_data.data_set import DataSet, Download
from semalign_pl.example_data.get import get


def letters(files: Mapping[str, Path]) -> dict[str, bytes]:
    return {"letters.txt": b"".join(file.read_bytes() for file in files.values())}


LETTERS = DataSet("letters", "what", "rows", "CC0", "https://example.org", "sorted", "nobody", letters)


def served(server, data_set: DataSet, content: Mapping[str, bytes]) -> DataSet:
    """Data set whose files are the given ones, on the server."""
    server.files |= content
    sums = {path: hashlib.sha256(data).hexdigest() for path, data in content.items()}
    downloads = tuple(Download(path, sums[path], len(data)) for path, data in content.items())
    return replace(data_set, root=server.root, downloads=downloads)


def test_a_folder_is_made_with_its_record_and_then_only_checked(server, tmp_path: Path) -> None:
    data_set = served(server, LETTERS, {"x/a": b"aa", "x/b": b"b"})
    assert get(data_set, tmp_path) is True
    assert {file.name for file in (tmp_path / "letters").iterdir()} == {"letters.txt", "SOURCE.json"}
    assert (tmp_path / "letters" / "letters.txt").read_bytes() == b"aab"
    record = json.loads((tmp_path / "letters" / "SOURCE.json").read_text())
    assert (record["licence"], record["source"], record["changes"]) == ("CC0", "https://example.org", "sorted")
    assert record["downloads"] == {
        f"{server.root}/x/{name}": {"sha256": hashlib.sha256(data).hexdigest()}
        for name, data in (("a", b"aa"), ("b", b"b"))
    }
    assert record["files"] == {"letters.txt": {"sha256": hashlib.sha256(b"aab").hexdigest()}}
    assert get(data_set, tmp_path) is False and server.asked == ["x/a", "x/b"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["letters"]


def test_a_file_of_an_installed_package_is_not_downloaded(server, tmp_path: Path, monkeypatch) -> None:
    data_set = replace(served(server, LETTERS, {"a": b"aa", "b": b"b"}), package="letters_package")
    (tmp_path / "letters_package").mkdir()
    file = tmp_path / "letters_package" / "a"
    file.write_bytes(b"changed")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"letters_package/a: not the expected file: its SHA-256 is .*; uninstall"):
        get(data_set, tmp_path / "data")
    file.write_bytes(b"aa")
    assert get(data_set, tmp_path / "data") and server.asked == ["b"]
    assert (tmp_path / "data" / "letters" / "letters.txt").read_bytes() == b"aab"


def test_a_download_that_fails_leaves_nothing(server, tmp_path: Path) -> None:
    data_set = served(server, LETTERS, {"a": b"aa", "b": b"b"})
    server.files["b"] = b"other"
    with pytest.raises(ValueError, match="/b: not the expected file.*nothing was kept.*`semalign data sample`"):
        get(data_set, tmp_path)
    assert list(tmp_path.iterdir()) == []
    server.files["b"] = b"b"
    assert get(data_set, tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "letters.txt").write_text("aac"), "letters.txt: changed since it was made"),
        (lambda folder: (folder / "letters.txt").unlink(), "letters.txt: missing, but SOURCE.json lists it"),
        (lambda folder: (folder / "SOURCE.json").unlink(), "letters is not empty and has no SOURCE.json"),
        (lambda folder: (folder / "SOURCE.json").write_text("{"), "SOURCE.json: not valid JSON"),
        (lambda folder: (folder / "SOURCE.json").write_text("[]"), "SOURCE.json: lists no files"),
    ],
)
def test_a_spoiled_folder_is_refused_and_left_alone(server, tmp_path: Path, spoil, message: str) -> None:
    data_set = served(server, LETTERS, {"a": b"aa", "b": b"b"})
    get(data_set, tmp_path)
    spoil(tmp_path / "letters")
    before = {file.name: file.read_bytes() for file in (tmp_path / "letters").iterdir()}
    with pytest.raises(ValueError, match=message):
        get(data_set, tmp_path)
    assert {file.name: file.read_bytes() for file in (tmp_path / "letters").iterdir()} == before


INTERRUPTED = """
import sys
from semalign_pl.example_data.data_set import DataSet, Download
from semalign_pl.example_data.get import get
from semalign_pl.run.signals import ending_by_signals

with ending_by_signals():
    get(DataSet("x", "", "", "", "", "", "", dict, sys.argv[1], (Download("stall", "0" * 64, 1000),)))
"""


def test_an_interrupted_download_leaves_nothing(server, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen([sys.executable, "-c", INTERRUPTED, server.root], cwd=tmp_path, env=environment)
    assert server.stalled.wait(60)
    assert list((tmp_path / "data").iterdir())  # something was begun
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 128 + signal.SIGINT
    assert list((tmp_path / "data").iterdir()) == []
