"""``semalign recipes`` lists and copies the recipes of the package."""

from __future__ import annotations

from pathlib import Path

import pytest

from semalign_pl.__main__ import main
from semalign_pl.files.recipes import FOLDER
from semalign_pl.start.recipes import copy, read_table


def test_the_list_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out
    assert main(["recipes", "list"]) == 0 and capsys.readouterr().out == listed
    assert set(read_table()) == {path.name for path in FOLDER.iterdir() if path.name != "README.md"}
    for path in FOLDER.rglob("*.yaml"):
        name = path.relative_to(FOLDER)
        assert f"    {name.as_posix()}\n" in listed or name.parts[0] == "cards" or len(name.parts) == 1


@pytest.mark.parametrize(
    "name", ["quickstart", "real/sft.yaml", "embedder.yaml", "configs/paper/", "cards/qwen3-4b-12gb"]
)
def test_copies_are_equal(tmp_path: Path, name: str) -> None:
    place = FOLDER / name.removeprefix("configs/").rstrip("/")
    expected = {file.name: file.read_bytes() for file in ([place] if place.is_file() else place.glob("*.yaml"))}
    written = copy(name, tmp_path / "my")
    assert {file.name: file.read_bytes() for file in written} == expected
    assert {file.name for file in (tmp_path / "my").iterdir()} == set(expected)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["copy", "quikstart", "my"], "there is no recipe quikstart; did you mean quickstart?"),
        (["copy", "../pyproject.toml", "my"], "there is no recipe ../pyproject.toml; "),
        (["copy", "paper", "full"], "full is there already and not an empty folder; name a new one"),
        (["copy", "paper"], "copy needs a recipe and a folder, e.g. semalign recipes copy paper my; see semalign"),
        (["list", "paper"], "list takes no name; to copy, write semalign recipes copy paper FOLDER"),
        (["show"], "argument action: invalid choice: 'show'"),
    ],
)
def test_mistakes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    args: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.yaml").write_text("mine")
    assert main(["recipes", *args]) == 2
    assert capsys.readouterr().err.startswith(f"semalign: error: {message}")
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "mine.yaml"]
