"""An interrupted study resumes in the middle of a training; a changed one trains again, and keeps the old folder."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from helpers.small_runs import Runs, assert_same, weights

from semalign_pl.__main__ import main
from semalign_pl.run.lock import hold
from semalign_pl.study.half_done import earlier_seconds


@dataclass(frozen=True)
class HalfDone:
    """Study of one system, whose training was killed once, in its third step, and the same study when it went on.

    Attributes:
        runs: Runner whose folder has the study.
        states: Folder with copies of the results: ``killed`` and ``finished``.
        answer: Output of the command that went on.
    """

    runs: Runs
    states: Path
    answer: str

    @property
    def config(self) -> Path:
        """Recipe of the system."""
        return self.runs.folder / "configs" / "cold.yaml"

    @property
    def folder(self) -> Path:
        """Folder of the system's training."""
        return self.runs.folder / "out" / "seed-0" / "cold"

    def args(self, out: str = "out") -> list[str]:
        """Command line that runs the study."""
        return ["study", "--config", str(self.config.parent), "--out", str(self.runs.folder / out)]


@pytest.fixture(scope="module")
def half_done(base: str, encoder: str, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> HalfDone:
    runs = Runs(tmp_path_factory.mktemp("half_done"), base, encoder, corpus)
    study = HalfDone(runs, runs.folder / "states", "")
    study.config.parent.mkdir()
    strike = {"step": 3, "signal_name": "SIGKILL", "hook": "on_train_batch_start", "dirpath": str(runs.folder)}
    callbacks = [
        {"class_path": "TimedCheckpoint", "init_args": {"minutes": 0}},
        {"class_path": "helpers.run_callbacks.Strike", "init_args": strike},
        {"class_path": "Evaluation"},
    ]
    recipe = runs.recipe("sft", callbacks)
    recipe["trainer"]["max_steps"] = 4
    recipe["data"]["init_args"]["eval_limit"] = 2
    recipe["model"]["init_args"]["max_new_tokens"] = 48
    study.config.write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    (study.config.parent / "study.yaml").write_text("cold: {from: base}\n", encoding="utf-8")

    [(code, log)] = runs.processes(study.args())
    assert code == -signal.SIGKILL and (runs.folder / "struck").exists(), log
    shutil.copytree(runs.folder / "out", study.states / "killed")
    [(code, log)] = runs.processes(study.args())
    assert code == 0, log
    shutil.copytree(runs.folder / "out", study.states / "finished")
    return replace(study, answer=log)


@pytest.fixture
def study(half_done: HalfDone, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[HalfDone]:
    """The study in the state that the test's parameter names."""
    monkeypatch.setattr("sys.argv", ["semalign"])  # LightningCLI warns about further arguments
    shutil.rmtree(half_done.runs.folder / "out")
    shutil.copytree(half_done.states / request.param, half_done.runs.folder / "out")
    recipe = half_done.config.read_bytes()
    yield half_done
    half_done.config.write_bytes(recipe)


@pytest.mark.parametrize("study", ["finished"], indirect=True)
def test_a_half_done_training_goes_on(study: HalfDone) -> None:
    assert f"--resume: going on from {study.folder / 'checkpoints' / 'last.ckpt'} at step 2" in study.answer
    folder = study.states / "killed" / "seed-0" / "cold"
    saved = max(file.stat().st_mtime for file in (folder / "checkpoints").iterdir())
    spent = saved - json.loads((folder / "fit.started.json").read_text(encoding="utf-8"))["began"]
    seconds = json.loads((study.folder / "fit.done.json").read_text(encoding="utf-8"))["seconds"]
    assert seconds > spent == pytest.approx(earlier_seconds(study.folder)) and spent > 0.1
    assert main(study.args("straight")) == 0
    assert_same(weights(study.folder), weights(study.runs.folder / "straight" / "seed-0" / "cold"))


@pytest.mark.parametrize("study", ["killed"], indirect=True)
def test_a_running_training_keeps_its_start(study: HalfDone) -> None:
    before = (study.folder / "fit.started.json").read_bytes()
    with hold(study.folder, "fit"):
        assert main(study.args()) == 2
    assert (study.folder / "fit.started.json").read_bytes() == before


@pytest.mark.parametrize("study", ["killed"], indirect=True)
def test_a_changed_training_begins_anew_beside_the_old(study: HalfDone, capfd: pytest.CaptureFixture[str]) -> None:
    """First half done, then finished: the earlier folder is kept complete, and a message says so."""
    folder = study.folder
    changed = yaml.safe_load(study.config.read_text(encoding="utf-8"))
    study.config.write_text(yaml.safe_dump(changed | {"seed_everything": 4}), encoding="utf-8")
    with hold(folder, "fit"):
        assert main(study.args()) == 2, "it is not moved from under a running training"
    assert (folder / "checkpoints" / "last.ckpt").exists()

    for number, (key, value) in enumerate([("max_steps", 1), ("max_steps", 2)], 1):
        before = {path.name: path.read_bytes() for path in (folder / "checkpoints").iterdir()}
        recipe = yaml.safe_load(study.config.read_text(encoding="utf-8"))
        recipe["trainer"][key] = value
        study.config.write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
        capfd.readouterr()
        assert main(study.args()) == 0
        earlier = folder.with_name(f"cold.earlier-{number}")
        assert f"{folder} holds an earlier run; it was moved to {earlier}" in capfd.readouterr().out
        assert {path.name: path.read_bytes() for path in (earlier / "checkpoints").iterdir()} == before
        assert json.loads((folder / "adapter" / "training.json").read_text(encoding="utf-8"))["steps"] == value


@pytest.mark.parametrize("study", ["finished"], indirect=True)
def test_a_finished_training_whose_result_changed_is_trained_again(
    study: HalfDone, capfd: pytest.CaptureFixture[str]
) -> None:
    """The run's folder says that it is finished, which is what --resume would believe."""
    folder = study.folder
    trained, facts = folder / "adapter" / "adapter_model.safetensors", folder / "adapter" / "training.json"
    right, told = trained.read_bytes(), facts.read_bytes()
    for file, changed in ((trained, right[:-4] + bytes(4)), (facts, told.replace(b'"sft"', b'"grpo"'))):
        file.write_bytes(changed)
        capfd.readouterr()
        assert main(study.args()) == 0
        assert f"{folder} holds an earlier run; it was moved to" in capfd.readouterr().out
        assert trained.read_bytes() == right, file.name
        assert json.loads(facts.read_text(encoding="utf-8"))["stage"] == "sft", file.name
