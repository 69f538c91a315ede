"""An earlier run is moved out of a folder as a whole before another one begins there."""

from __future__ import annotations

from pathlib import Path

import pytest

from semalign_pl.frontier.measure import OUTPUTS, RECORD
from semalign_pl.frontier.points import POINTS
from semalign_pl.rewards.judge import FILE
from semalign_pl.run.completions import COMPLETIONS
from semalign_pl.run.history import BY_STEP, METRICS
from semalign_pl.run.kept_steps import STEPS
from semalign_pl.run.rotation import rotate

FOLDERS = ("adapter", "encoder", "best", "checkpoints", "corpus", "export", "reward_check", COMPLETIONS, STEPS, POINTS)
FILES = (
    *("fit.yaml", "validate.yaml", "test.yaml", "predict.yaml", "fit.done.json", "test.done.json", "tax_budget.json"),
    *(METRICS, *BY_STEP, *OUTPUTS, RECORD, FILE, f"{FILE}.rank-1", "judge_digests.json"),
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def test_nothing_but_locks_is_left(run: Path) -> None:
    for name in FOLDERS:
        (run / name).mkdir()
    for name in (*FILES, ".fit.lock", ".test.lock"):
        (run / name).touch()
    earlier = rotate(run)
    assert earlier is not None and earlier == run.with_name("run.earlier-1")
    assert {path.name for path in run.iterdir()} == {".fit.lock", ".test.lock"}
    assert {path.name for path in earlier.iterdir()} == {*FOLDERS, *FILES}


@pytest.mark.parametrize("name", ["reward_check", "notes.txt"])
def test_an_audit_before_the_first_training_and_files_of_the_user_are_no_earlier_run(run: Path, name: str) -> None:
    (run / name).mkdir()
    assert rotate(run) is None and (run / name).is_dir()
