"""The folder of a finished run is read without its weights, from any working folder; another folder is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semalign_pl.run.finished import FinishedRun, command_of_test

RECIPE = "trainer: {default_root_dir: runs/a}\nmodel: {init_args: {base: world/base}}\n"


def make_run(root: Path, recipe: str = RECIPE, weights: str | None = "adapter") -> Path:
    run = root / "runs" / "a"
    run.mkdir(parents=True)
    (root / "world" / "base").mkdir(parents=True)
    (run / "fit.yaml").write_text(recipe, encoding="utf-8")
    if weights is not None:
        (run / weights).mkdir()
    return run


def test_a_run_is_read_from_its_own_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    run = FinishedRun.of("runs/a")
    assert (run.path, run.adapter, run.base) == (Path("runs/a"), Path("runs/a/adapter"), "world/base")
    assert run.results is None and run.recipe["trainer"]["default_root_dir"] == "runs/a"


def test_relative_paths_of_the_recipe_are_found_from_another_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_run(tmp_path / "project")
    monkeypatch.chdir(tmp_path)
    run = FinishedRun.of(path)
    assert run.base == str(tmp_path / "project" / "world" / "base")
    assert run.locate("Qwen/Qwen3-4B") == "Qwen/Qwen3-4B", "a hub id is no path"
    moved = path.rename(tmp_path / "moved")
    assert FinishedRun.of(moved).base == "world/base", "where the training ran is not known any more"


def test_another_file_of_todays_working_folder_is_not_the_runs_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_run(tmp_path / "project")
    (tmp_path / "other" / "world" / "base").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "other")
    assert FinishedRun.of(path).base == str(tmp_path / "project" / "world" / "base")


def test_scores_and_encoders(tmp_path: Path) -> None:
    run = make_run(tmp_path, weights="encoder")
    (run / "encoder" / "training.json").write_text('{"finished": "May"}', encoding="utf-8")
    results = {"metrics": {}, "run": {"trained": {"finished": "May"}}}
    (run / "results.json").write_text(json.dumps(results), encoding="utf-8")
    read = FinishedRun.of(run)
    assert read.adapter is None and read.results == results
    started_from = {"metrics": {}, "run": {"trained": None}}
    (run / "results.json").write_text(json.dumps(started_from), encoding="utf-8")
    assert FinishedRun.of(run).results is None
    words = ["semalign", "test", "--config", f"{run}/fit.yaml", "--model.init_args.base", f"{run}/encoder"]
    assert command_of_test(run, {}) == words


@pytest.mark.parametrize(
    ("point", "facts", "own"),
    [
        ("end", {"trained": {"finished": "May"}}, True),
        ("end", {"trained": None}, False),  # the base
        ("end", {"trained": {"finished": "April"}}, False),  # the cold start, or an earlier training
        ("end", {"trained": {"finished": "May"}, "adapter_scale": 0.5, "scale_from": "base"}, False),
        ("step-5", {"trained": {"finished": "May"}}, False),
        ("end", None, False),
    ],
)
def test_scores_are_those_of_the_trained_adapter_itself(tmp_path: Path, point: str, facts: object, own: bool) -> None:
    run = make_run(tmp_path)
    (run / "adapter" / "training.json").write_text('{"steps": 3, "finished": "May"}', encoding="utf-8")
    results = {"point": point, "metrics": {}, "run": facts}
    (run / "results.json").write_text(json.dumps(results), encoding="utf-8")
    assert FinishedRun.of(run).results == (results if own else None)


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        ({"adapter": "runs/cold/adapter", "adapter_scale": 1.0, "scale_from": "base", "lora": None}, ""),
        ({"adapter_scale": 0.5}, " --model.init_args.adapter_scale 1.0 --model.init_args.scale_from base"),
        ({"lora": {"r": 8, "variant": "corda"}}, " --model.init_args.lora null"),
        ({"lora": {"r": 8, "variant": "osf"}}, " --model.init_args.lora null"),
    ],
)
def test_the_command_tests_the_adapter_itself(settings: dict[str, object], flags: str) -> None:
    words = command_of_test(Path("runs/a"), {"model": {"init_args": settings}})
    expected = "semalign test --config runs/a/fit.yaml --model.init_args.adapter runs/a/adapter"
    assert " ".join(words) == expected + flags


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        ("runs/b", {}, "there is no folder .*; give the folder of a run"),
        ("runs/a/fit.yaml", {}, "is a file; give the folder of a run"),
        ("runs", {}, "it has no fit.yaml; give the folder of a run, such as .*runs/a$"),
        ("runs/a/adapter", {}, "it has no fit.yaml; give the folder of a run, .*runs/a$"),
        ("runs/a", {"fit.yaml": "a: [1"}, "fit.yaml: not valid YAML"),
        ("runs/a", {"fit.yaml": "- 1"}, "model.init_args names no base"),
        ("runs/a", {"fit.yaml": "model: {init_args: {base: 3}}"}, "model.init_args names no base"),
        ("runs/a", {"results.json": "[8]"}, "results.json: list is no JSON object; test the run again: semalign test"),
        (
            "runs/a",
            {"results.json": "{}", "adapter/training.json": "[8]"},
            "training.json: list is no JSON object; train again, or",
        ),
    ],
)
def test_other_folders_are_refused(tmp_path: Path, path: str, content: dict[str, str], message: str) -> None:
    run = make_run(tmp_path)
    for name, text in content.items():
        (run / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        FinishedRun.of(tmp_path / path)
    assert "\n" not in str(caught.value)


def test_an_unfinished_run_is_refused_with_the_command_that_finishes_it(tmp_path: Path) -> None:
    run = make_run(tmp_path, weights=None)
    with pytest.raises(ValueError, match=r"unfinished run.*semalign fit --config .*/fit.yaml --resume"):
        FinishedRun.of(run)
