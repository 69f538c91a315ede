"""Start of a run: a named checkpoint must exist, ``--resume`` finds one, and a folder belongs to one run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from helpers.small_runs import Runs, assert_same, weights

from semalign_pl.__main__ import main
from semalign_pl.cli import SemAlignCLI, make_cli
from semalign_pl.run.lock import hold

EVERY_STEP = {"class_path": "semalign_pl.callbacks.TimedCheckpoint", "init_args": {"minutes": 0}}
EVALUATION = {"class_path": "Evaluation"}
SIX = ["trainer.max_steps=6", "data.init_args.batch_size=10"]  # four steps per epoch


def strike(step: int, hook: str = "on_train_batch_start") -> dict[str, Any]:
    return {
        "class_path": "helpers.run_callbacks.Strike",
        "init_args": {"step": step, "signal_name": "SIGKILL", "hook": hook},
    }


def content(folder: Path) -> dict[str, bytes]:
    """All files below a folder, except the locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def one_line(capfd: pytest.CaptureFixture[str], args: list[str]) -> str:
    capfd.readouterr()
    assert main(args) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("semalign: error: ")]
    assert len(lines) == 1
    return lines[0]


def said(capfd: pytest.CaptureFixture[str], args: list[str]) -> str:
    capfd.readouterr()
    assert main(args) == 0
    return "".join(capfd.readouterr())


@pytest.fixture(scope="module")
def kept(base, encoder, corpus, tmp_path_factory) -> dict[str, Path]:
    """Run folders: ``finished`` after six steps, and ``killed`` in the sixth, whose newest checkpoint is of step 5."""
    runs = Runs(tmp_path_factory.mktemp("kept"), base, encoder, corpus)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["semalign"])
        runs("fit", "sft", "finished", *SIX, callbacks=[EVERY_STEP])
    [(code, log)] = runs.processes(runs.args("fit", "sft", "killed", *SIX, callbacks=[EVERY_STEP, strike(6)]))
    assert code == -signal.SIGKILL, log
    return {name: runs.folder / name for name in ("finished", "killed")}


@pytest.fixture
def finished(kept: dict[str, Path], runs: Runs) -> Path:
    return Path(shutil.copytree(kept["finished"], runs.folder / "run"))


@pytest.fixture
def killed(kept: dict[str, Path], runs: Runs) -> Path:
    return Path(shutil.copytree(kept["killed"], runs.folder / "run"))


# -- keywords for a checkpoint ---------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["last", "best", "hpc", "registry:mine"])
@pytest.mark.parametrize("command", ["fit", "test", "predict"])
def test_a_word_for_a_checkpoint_that_is_not_there(
    killed: Path, runs: Runs, capfd: pytest.CaptureFixture[str], command: str, word: str
) -> None:
    (killed / "checkpoints" / "last.ckpt").unlink()
    newest = killed / "checkpoints" / "epoch=0-step=4.ckpt"
    before = content(killed)
    answer = one_line(capfd, runs.args(command, "sft", "run", f"ckpt_path={word}"))
    assert "--ckpt_path" in answer and word in answer
    if word in ("last", "best"):
        assert f"the newest checkpoint of the run is {newest} (step 4); give --ckpt_path {newest}" in answer
    assert content(killed) == before, "nothing is trained, scored or written"


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_word_where_there_is_no_checkpoint_at_all(
    runs: Runs, capfd: pytest.CaptureFixture[str], command: str
) -> None:
    answer = one_line(capfd, runs.args(command, "sft", "run", "ckpt_path=last"))
    assert f"there is no checkpoint in {runs.folder / 'run'} either; leave --ckpt_path out" in answer
    assert not (runs.folder / "run").exists()


def test_a_file_named_like_a_word(killed: Path, runs: Runs, capfd: pytest.CaptureFixture[str], monkeypatch) -> None:
    """A path is a path: ``registry/hpc`` is loaded, although its beginning has another meaning in Lightning."""
    monkeypatch.chdir(runs.folder)
    (runs.folder / "registry").mkdir()
    shutil.copy(killed / "checkpoints" / "last.ckpt", "registry/hpc")
    tested = runs("test", "sft", "tested", "ckpt_path=registry/hpc", callbacks=[EVALUATION])
    assert_same(dict(tested.model.state_dict()), torch.load("registry/hpc", weights_only=True)["state_dict"])


def test_last_is_the_newest_last(finished: Path, runs: Runs) -> None:
    tested = runs("test", "sft", "run", "ckpt_path=last", callbacks=[EVALUATION])
    trained = weights(finished)
    state = tested.model.state_dict()
    assert state.keys() == trained.keys() and all(torch.equal(state[key], trained[key]) for key in state)
    assert yaml.safe_load((finished / "test.yaml").read_text(encoding="utf-8"))["ckpt_path"] == "last"


def test_a_checkpoint_with_a_flipped_byte_is_refused(
    killed: Path, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    """torch loads it without an error, but with changed weights."""
    last = killed / "checkpoints" / "last.ckpt"
    flip(last)
    torch.load(last, weights_only=True)
    older = killed / "checkpoints" / "epoch=0-step=4.ckpt"
    for given in ("last", str(last)):
        answer = one_line(capfd, runs.args("test", "sft", "run", f"ckpt_path={given}"))
        assert f"{last} is damaged" in answer and "checksum" in answer and f"give --ckpt_path {older}" in answer
    assert not (killed / "results.json").exists()


def flip(checkpoint: Path) -> None:
    """Change one bit of the largest tensor."""
    import zipfile

    with zipfile.ZipFile(checkpoint) as archive:
        info = max((e for e in archive.infolist() if "/data/" in e.filename), key=lambda entry: entry.file_size)
    with checkpoint.open("r+b") as file:
        file.seek(info.header_offset + 26)
        name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
        place = info.header_offset + 30 + name + extra + info.file_size // 2
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 0x40]))


# -- the default checkpoint and --resume -----------------------------------------------------------------------


def test_every_run_is_saved_unless_its_recipe_says_otherwise(runs: Runs) -> None:
    class Unrun(SemAlignCLI):
        def _run_subcommand(self, subcommand: str) -> None:
            assert subcommand == "fit"

    def chosen(*flags: str, callbacks: list[dict[str, Any]] | None = None) -> list[tuple[str, Any]]:
        found = make_cli(Unrun, runs.args("fit", "sft", "unrun", *flags, callbacks=callbacks)).trainer
        return [(type(c).__name__, getattr(c, "minutes", None)) for c in found.checkpoint_callbacks]

    assert chosen() == [("TimedCheckpoint", 10.0)]
    assert chosen(callbacks=[runs.checkpoints("own", 1)]) == [("ModelCheckpoint", None)]
    assert chosen(callbacks=[EVERY_STEP]) == [("TimedCheckpoint", 0)]
    assert chosen("trainer.enable_checkpointing=false") == []
    added = json.dumps({"class_path": "LearningRateMonitor"})
    assert chosen(f"--trainer.callbacks+={added}") == [("TimedCheckpoint", 10.0)]
    saving = {"class_path": "OnExceptionCheckpoint", "init_args": {"dirpath": str(runs.folder)}}
    assert ("TimedCheckpoint", 10.0) in chosen(callbacks=[saving]), "it saves only where a run ends badly"

    logger = json.dumps({"class_path": "CSVLogger", "init_args": {"save_dir": str(runs.folder / "logs")}})
    runs("fit", "sft", "run", "trainer.max_steps=1", f"trainer.logger={logger}")
    files = {path.name for path in (runs.folder / "run" / "checkpoints").iterdir()}
    assert files == {"epoch=0-step=1.ckpt", "last.ckpt"}


def test_a_checkpoint_callback_that_would_never_save(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    timed = {"class_path": "ModelCheckpoint", "init_args": {"train_time_interval": "0:00:01"}}
    assert "train_time_interval does nothing" in one_line(capfd, runs.args("fit", "sft", "run", callbacks=[timed]))


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_killed_twice_in_an_epoch_and_resumed_equals_straight(
    runs: Runs, stage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Killed in step 3, and the resumed run in step 6; only the default checkpoint exists."""
    six = ["trainer.max_steps=6", "data.init_args.limit=16", f"data.init_args.batch_size={4 if stage == 'sft' else 2}"]
    runs("fit", stage, "straight", *six, callbacks=[EVERY_STEP])
    for step, flags in ((3, []), (6, ["--resume"])):
        given = runs.args("fit", stage, "run", *six, *flags, callbacks=[EVERY_STEP, strike(step)])
        [(code, log)] = runs.processes(given)
        assert code == -signal.SIGKILL, log
    last = runs.folder / "run" / "checkpoints" / "last.ckpt"
    answer = said(capfd, runs.args("fit", stage, "run", *six, "--resume", callbacks=[EVERY_STEP]))
    assert f"--resume: going on from {last} at step 5\n" in answer
    assert_same(weights(runs.folder / "run"), weights(runs.folder / "straight"))


def test_resume_in_an_empty_folder_starts_afresh(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    answer = said(capfd, runs.args("fit", "sft", "run", "trainer.max_steps=1", "--resume"))
    assert f"--resume: there is no checkpoint in {runs.folder / 'run'} yet; starting afresh" in answer
    assert (runs.folder / "run" / "adapter" / "training.json").is_file()


def test_resume_of_a_finished_run_does_nothing(finished: Path, runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    before = content(finished)
    answer = said(capfd, runs.args("fit", "sft", "run", *SIX, "--resume", callbacks=[EVERY_STEP]))
    assert f"{finished} holds a finished run of 6 steps: nothing is left to do" in answer
    assert content(finished) == before


def test_a_finished_run_that_is_trained_on_is_resumed_too(
    finished: Path, runs: Runs, capfd: pytest.CaptureFixture[str]
) -> None:
    """The exported adapter is of step 6, the newest checkpoint of step 7."""
    more = ["trainer.max_steps=8", SIX[1]]
    given = runs.args("fit", "sft", "run", *more, "ckpt_path=last", callbacks=[EVERY_STEP, strike(8)])
    [(code, log)] = runs.processes(given)
    assert code == -signal.SIGKILL, log
    assert "at step 7" in said(capfd, runs.args("fit", "sft", "run", *more, "--resume", callbacks=[EVERY_STEP]))
    assert json.loads((finished / "adapter" / "training.json").read_text(encoding="utf-8"))["steps"] == 8


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_resume_passes_over_a_damaged_checkpoint(
    killed: Path, runs: Runs, damage: str, kept: dict[str, Path], capfd: pytest.CaptureFixture[str], caplog: Any
) -> None:
    last, older = killed / "checkpoints" / "last.ckpt", killed / "checkpoints" / "epoch=0-step=4.ckpt"
    harm(last, damage)
    answer = said(capfd, runs.args("fit", "sft", "run", *SIX, "--resume", callbacks=[EVERY_STEP]))
    assert f"--resume: {last} is damaged" in caplog.text and "an older one is taken" in caplog.text
    assert f"--resume: going on from {older} at step 4" in answer
    assert_same(weights(killed), weights(kept["finished"]))


def test_resume_with_damaged_checkpoints_alone(killed: Path, runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    for checkpoint in (killed / "checkpoints").iterdir():
        harm(checkpoint, "cut")
    before = content(killed)
    answer = one_line(capfd, runs.args("fit", "sft", "run", *SIX, "--resume", callbacks=[EVERY_STEP]))
    assert f"--resume: no checkpoint in {killed} can be gone on from" in answer
    assert content(killed) == before


def harm(checkpoint: Path, damage: str) -> None:
    data = checkpoint.read_bytes()
    if damage == "flipped":
        flip(checkpoint)
    else:
        checkpoint.write_bytes(data[: len(data) // 2] if damage == "cut" else b"")


def test_resume_and_a_checkpoint_contradict(killed: Path, runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    saved = killed / "checkpoints" / "last.ckpt"
    answer = one_line(capfd, runs.args("fit", "sft", "run", *SIX, "--resume", f"ckpt_path={saved}"))
    assert f"leave out --ckpt_path {saved}, or --resume" in answer


@pytest.mark.parametrize("flag", ["--resume", "ckpt_path=last"])
def test_the_saved_recipe_of_a_resumed_run_is_a_recipe(killed: Path, runs: Runs, flag: str) -> None:
    runs("fit", "sft", "run", *SIX, flag, callbacks=[EVERY_STEP, EVALUATION])
    recipe = killed / "fit.yaml"
    saved = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    assert "resume" not in saved and saved["ckpt_path"] is None
    assert main(["test", "--config", str(recipe), "--trainer.logger=false"]) == 0
    assert main(["fit", "--config", str(recipe), "--resume"]) == 0


# -- a folder belongs to one run -------------------------------------------------------------------------------


def test_a_finished_run_is_kept(finished: Path, runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    before = content(finished)
    answer = one_line(capfd, runs.args("fit", "sft", "run", "seed_everything=4"))
    assert f"{finished} holds an earlier run's adapter; give another --trainer.default_root_dir" in answer
    foreign = shutil.copy(finished / "checkpoints" / "last.ckpt", runs.folder / "foreign.ckpt")
    answer = one_line(capfd, runs.args("fit", "sft", "run", "trainer.max_steps=8", f"ckpt_path={foreign}"))
    assert f"{finished} holds an earlier run's adapter" in answer
    assert content(finished) == before


def test_an_unfinished_run_is_kept(killed: Path, runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    before = content(killed)
    answer = one_line(capfd, runs.args("fit", "sft", "run", "seed_everything=4"))
    newest = killed / "checkpoints" / "last.ckpt"
    assert f"holds an unfinished run, whose newest checkpoint is {newest}; --resume goes on with it" in answer
    assert content(killed) == before


def test_checkpoints_elsewhere_belong_to_the_run_too(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    elsewhere = [runs.checkpoints("elsewhere", 2)]
    runs("fit", "sft", "one", *SIX, callbacks=elsewhere)
    answer = one_line(capfd, runs.args("fit", "sft", "two", *SIX, callbacks=elsewhere))
    assert f"newest checkpoint is {runs.folder / 'elsewhere' / 'step=6.ckpt'}" in answer


def test_a_checkpoint_that_slurm_left_is_loaded_by_nobody(
    killed: Path, runs: Runs, capfd: pytest.CaptureFixture[str], monkeypatch
) -> None:
    """In a SLURM job, Lightning loads such a file wherever it finds it, instead of the adapter to test."""
    (killed / "checkpoints" / "last.ckpt").rename(killed / "hpc_ckpt_1.ckpt")
    assert "unfinished run" in one_line(capfd, runs.args("fit", "sft", "run", *SIX))
    monkeypatch.setattr("semalign_pl.cli.preflight.SLURMEnvironment.detect", lambda: True)
    before = content(killed)
    for command in ("test", "fit"):
        answer = one_line(capfd, runs.args(command, "sft", "run", *SIX, callbacks=[EVALUATION]))
        assert "hpc_ckpt_1.ckpt is the checkpoint of an earlier SLURM job, and Lightning would load it" in answer
    assert content(killed) == before


# -- two runs at the same time ---------------------------------------------------------------------------------


def test_two_trainings_in_a_folder(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    """Refused while the first run is alive, not after it was killed; a test at the same time is allowed."""
    stopped = {"init_args": {"step": 2, "signal_name": "SIGSTOP", "hook": "on_train_batch_start"}}
    given = runs.args(
        "fit", "sft", "run", *SIX, callbacks=[EVERY_STEP, {"class_path": "helpers.run_callbacks.Strike", **stopped}]
    )
    first = runs.start(given)
    try:
        last = runs.folder / "run" / "checkpoints" / "last.ckpt"
        deadline = time.monotonic() + 120
        process = psutil.Process(first.pid)  # it writes until it is stopped
        while process.status() != psutil.STATUS_STOPPED and first.is_alive() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert last.exists()
        before = content(runs.folder / "run")
        for flags in ([], ["--resume"], ["ckpt_path=last"]):
            answer = one_line(capfd, runs.args("fit", "sft", "run", *SIX, *flags, callbacks=[EVERY_STEP]))
            assert f"in use by another run (process {first.pid} on " in answer
        assert content(runs.folder / "run") == before
        runs("test", "sft", "run", callbacks=[EVALUATION])
    finally:
        first.kill()
        first.join()
    assert "at step 1" in said(capfd, runs.args("fit", "sft", "run", *SIX, "--resume", callbacks=[EVERY_STEP]))


def test_two_tests_in_a_folder(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    with hold(runs.folder / "run", "test"):
        for command in ("test", "predict"):
            assert f"process {os.getpid()} on " in one_line(capfd, runs.args(command, "sft", "run"))
    runs("test", "sft", "run", callbacks=[EVALUATION])


def test_the_lock_of_a_killed_run_whose_workers_live_on(tmp_path: Path) -> None:
    """A child of the dead process keeps its file open for two more seconds."""
    script = (
        "import os, pathlib, signal, sys, time; from semalign_pl.run.lock import hold\n"
        "with hold(pathlib.Path(sys.argv[1]), 'fit'):\n"
        "    if os.fork() == 0: time.sleep(2); os._exit(0)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "run")], check=False)
    assert killed.returncode == -signal.SIGKILL
    with hold(tmp_path / "run", "fit"):
        holder = json.loads((tmp_path / "run" / ".fit.lock").read_text(encoding="utf-8"))
    assert holder["pid"] == os.getpid()


def test_a_mistake_leaves_no_folder_behind(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    one_line(capfd, runs.args("fit", "sft", "run", "data.init_args.train=nowhere.jsonl"))
    assert not (runs.folder / "run").exists()
