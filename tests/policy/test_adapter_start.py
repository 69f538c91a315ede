"""The adapter that a training started from is recorded, found again after a move, and is one end of a scale."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.adapter_kinds import make
from helpers.small_runs import Runs, assert_same, weights

from semalign_pl.__main__ import main
from semalign_pl.policy.adapter_folder import read_adapter_folder
from semalign_pl.policy.adapter_start import blend_facts, check_scale, read_terms, record_path, start_facts


def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "training.json").read_text(encoding="utf-8"))


def write_start(adapter: str, **started: Any) -> Path:
    file = Path(adapter) / "training.json"
    file.write_text(json.dumps(started), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("start", "recorded"),
    [
        ("study/seed-0/cold/adapter", "../../cold/adapter"),
        ("study/seed-0/grpo/steps/step-2", "../steps/step-2"),
        ("study/seed-1/cold/adapter", None),
        ("study/seed-0-old/cold/adapter", None),
    ],
)
def test_a_path_in_the_folder_around_the_run_is_relative(start: str, recorded: str | None, tmp_path) -> None:
    folder = tmp_path / "study/seed-0/grpo/adapter"
    assert record_path(str(tmp_path / start), folder) == (recorded or str(tmp_path / start))


def test_runs_record_what_they_started_from_and_it_survives_a_move(runs: Runs, capsys) -> None:
    """Two stages, the second from half of the first; then the folder of both is moved and the second is scaled."""
    study = runs.folder / "study"
    study.mkdir()
    runs("fit", "sft", "study/cold", "trainer.max_steps=1")
    assert facts(study / "cold" / "adapter")["started_from"] is None
    runs("fit", "sft", "study/half", f"model.init_args.adapter={study}/cold/adapter", "model.init_args.lora=null",
         "model.init_args.adapter_scale=0.5", "trainer.max_steps=1")  # fmt: skip
    runs("fit", "sft", "study/next", f"model.init_args.adapter={study}/half/adapter", "model.init_args.lora=null",
         "trainer.max_steps=1")  # fmt: skip
    found = facts(study / "half" / "adapter")
    assert found["started_from"] == "../../cold/adapter"
    assert found["started_from_scale"] == {"adapter_scale": 0.5, "scale_from": "base"}
    assert facts(study / "next" / "adapter")["started_from"] == "../../half/adapter"

    shutil.move(study, runs.folder / "moved")
    moved = runs.folder / "moved"
    for name, ends in (("next", ["half/adapter", "next/adapter"]), ("half", ["cold/adapter", "half/adapter"])):
        terms = read_terms(read_adapter_folder(str(moved / name / "adapter")), 0.25, "start")
        share = 0.75 * (0.5 if name == "half" else 1)
        assert [(adapter.path, weight) for adapter, weight in terms] == [
            (str(moved / path), weight) for path, weight in zip(ends, (share, 0.25), strict=True)
        ]

    # The exported point is the tested one.
    scaled = [f"--model.init_args.adapter={moved}/next/adapter", "--model.init_args.lora=null"]
    scaled += ["--model.init_args.adapter_scale=0.25", "--model.init_args.scale_from=start"]
    evaluation = [{"class_path": "Evaluation", "init_args": {"language": "bo"}}]
    tested = runs("test", "sft", "test", *scaled, callbacks=evaluation)
    assert runs.results("test")["run"]["adapter_scale"] == 0.25
    recipe = runs.write(runs.recipe("sft"), "export")
    assert main(["export", "--config", str(recipe), *scaled, "--out", str(moved / "point")]) == 0
    printed = capsys.readouterr().out
    assert f"adapter_scale 0.25, scale_from start: {moved}/next/adapter" in printed
    assert f"written: {moved / 'point' / 'adapter'}" in printed
    assert_same(weights(moved / "point"), {k: v.clone() for k, v in tested.model.state_dict().items()})
    exported = facts(moved / "point" / "adapter")
    assert [(one["adapter"], one["weight"]) for one in exported["blend"]] == [
        ("../../half/adapter", 0.75),
        ("../../next/adapter", 0.25),
    ]
    assert exported["started_from"] == "../../half/adapter" and exported["stage"] == "sft"
    # It replaces neither of the two adapters.
    before = [weights(moved / name) for name in ("half", "next")]
    for name in ("half", "next"):
        assert main(["export", "--config", str(recipe), *scaled, "--out", str(moved / name)]) == 2
        assert f"--out: {moved / name}/adapter is an adapter that is scaled" in capsys.readouterr().err
    for name, state in zip(("half", "next"), before, strict=True):
        assert_same(weights(moved / name), state)

    # A training from the scaled adapter has it as its reference too, and is exported with what it started from.
    trained = runs("fit", "sft", "moved/last", *scaled, "--trainer.max_steps=1").model
    with torch.no_grad():
        reference = {k: v.clone() for k, v in trained.policy.model.state_dict().items() if ".reference." in k}
        begun = {k: v for k, v in tested.model.policy.model.state_dict().items() if ".reference." in k}
    assert_same(dict(sorted(reference.items())), dict(sorted(begun.items())))
    scale = {"adapter_scale": 0.25, "scale_from": "start"}
    assert facts(moved / "last" / "adapter")["started_from_scale"] == scale


@pytest.mark.parametrize(
    ("adapter", "scale", "scale_from", "message"),
    [
        ("a", 1.5, "base", r"^model\.init_args\.adapter_scale: 1\.5 is not between 0 .* and 1 "),
        ("a", -0.1, "base", r"^model\.init_args\.adapter_scale: -0\.1 is not between"),
        ("a", float("nan"), "base", r"^model\.init_args\.adapter_scale: nan is not between"),
        (
            None,
            0.5,
            "base",
            r"^model\.init_args\.adapter_scale: 0\.5 .*names none; give its folder, or leave",
        ),
        (None, 1, "start", r"^model\.init_args\.scale_from: start .*names none; give its folder, or leave scale_from"),
    ],
)
def test_settings_that_scale_nothing_are_refused(adapter, scale, scale_from, message) -> None:
    with pytest.raises(ValueError, match=message):
        check_scale(adapter, scale, scale_from)


@pytest.mark.parametrize(
    ("started", "scale_from", "message"),
    [
        (
            None,
            "start",
            r"scale_from: start: .*training\.json does not name .*: there is no such file; give",
        ),
        ({"steps": 3}, "start", r"scale_from: start: .*training\.json does not name .*: it has no started_from; give"),
        ({"started_from": "../gone"}, "start", r"no folder .*gone \(started_from: \.\./gone in .*training\.json\) any"),
        ({"started_from": ".", "started_from_scale": 3}, "start", r"training\.json: started_from_scale: 3 names no ad"),
        (None, "no/such/folder", r"scale_from: no/such/folder is not an adapter folder"),
    ],
)
def test_a_start_that_cannot_be_read_is_named(started, scale_from, message, bases, tmp_path) -> None:
    adapter = make(bases["tied"], tmp_path, "plain")
    if started is not None:
        write_start(adapter, **started)
    with pytest.raises(ValueError, match=message) as refusal:
        read_terms(read_adapter_folder(adapter), 0.5, scale_from)
    assert "\n" not in str(refusal.value)


def test_a_blend_names_all_starts_of_its_last_adapter_from_its_own_folder(bases, tmp_path) -> None:
    """The training started from a quarter of the way between two adapters; the blend is in another folder."""
    last, start, before = (make(bases["tied"], tmp_path / name, "plain") for name in ("last", "start", "before"))
    write_start(last, **start_facts(start, 0.25, before, Path(last)))
    assert "../" in facts(Path(last))["started_from_scale"]["scale_from"]
    folder = tmp_path / "elsewhere" / "dial" / "adapter"
    shutil.copytree(last, folder)
    found = blend_facts([(read_adapter_folder(last), 1.0)], folder)
    write_start(str(folder), **found)
    ends = [[(one.path, weight) for one, weight in read_terms(read_adapter_folder(str(each)), 0.0, "start")]
            for each in (last, folder)]  # fmt: skip
    assert ends[0] == ends[1] == [(before, 0.75), (start, 0.25)]


def test_a_new_adapter_started_from_the_base(bases, tmp_path) -> None:
    adapter = make(bases["tied"], tmp_path, "plain")
    write_start(adapter, **start_facts(None, 1.0, "base", Path(adapter)))
    saved = read_adapter_folder(adapter)
    assert read_terms(saved, 0.5, "start") == [(saved, 0.5)]
