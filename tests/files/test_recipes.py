"""``--config configs/…`` names the package's own recipe if the working folder has no such file."""

from pathlib import Path

import pytest

from semalign_pl.files.recipes import FOLDER, locate_recipes


@pytest.mark.parametrize("path", ["configs/none.yaml", "my/configs/paper/cold_start.yaml", "paper/cold_start.yaml"])
def test_a_path_that_is_no_shipped_recipe_is_left_alone(path: str, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    args = ["fit", "--config", path, "-c", path, f"--config={path}", "configs/paper/cold_start.yaml"]
    assert locate_recipes(args) == args
    assert capsys.readouterr().err == ""


def test_the_working_folders_own_recipe_goes_first(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    name = "configs/paper/cold_start.yaml"
    args = ["fit", "--config", name, f"-c={name}"]
    assert locate_recipes(args) == ["fit", "--config", str(FOLDER.parent / name), f"-c={FOLDER.parent / name}"]
    assert (
        capsys.readouterr().err.splitlines()
        == [f"semalign: {name} is not in this folder; read from the package: {FOLDER.parent / name}"] * 2
    )
    Path(name).parent.mkdir(parents=True)
    Path(name).write_text("mine: true\n")
    assert locate_recipes(args) == args
    assert capsys.readouterr().err == ""
