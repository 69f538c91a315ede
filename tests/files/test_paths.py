"""A path that cannot be used gives one line with path, reason and remedy, and no work is lost by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.small_runs import Runs

from semalign_pl.__main__ import main

LONG = "བ" * 90  # 270 bytes in UTF-8


def said(capfd: pytest.CaptureFixture[str], args: list[str]) -> str:
    """The last line that a command prints."""
    capfd.readouterr()
    assert main(args) == 2
    lines = capfd.readouterr().err.splitlines()
    ours = [line for line in lines if line.startswith("semalign: error: ")]
    assert ours == lines[-1:]
    return ours[0]


def spoil(folder: Path, kind: str) -> tuple[Path, str]:
    """A folder that cannot be made, even by root, and the expected message."""
    (folder / "file").write_text("kept", encoding="utf-8")
    return {
        "a file": (folder / "file", "file"),
        "below a file": (folder / "file" / "deep", "a part of this path is a file"),
        "too long a name": (folder / LONG / "deep", "shorten that name"),
        "unwritable": (Path("/sys/kernel/none/deep"), "/sys/kernel/none"),
    }[kind]


@pytest.mark.parametrize("kind", ["a file", "below a file", "too long a name", "unwritable"])
@pytest.mark.parametrize("command", ["corpus", "fit", "study"])
def test_a_folder_that_cannot_be_written(runs: Runs, capfd, command, kind) -> None:
    if kind == "unwritable" and not Path("/sys/kernel").is_dir():
        pytest.skip("this system has no /sys")
    out, reason = spoil(runs.folder, kind)
    recipe = runs.write(runs.recipe("sft"), "cold_start")
    (runs.folder / "study.yaml").write_text("cold_start: {from: base}\n", encoding="utf-8")
    flags = {
        "corpus": ["corpus", str(runs.corpus / "dev.jsonl"), "--out", str(out)],
        "fit": ["fit", "--config", str(recipe), "--trainer.default_root_dir", str(out)],
        "study": ["study", "--config", str(runs.folder), "--out", str(out)],
    }[command]
    error = said(capfd, flags)
    assert reason in error and len(error) < 500
    assert (runs.folder / "file").read_text(encoding="utf-8") == "kept"


@pytest.mark.parametrize("flag", ["--json", "--overlay"])
def test_plan_says_where_it_cannot_write(runs: Runs, capfd, flag) -> None:
    recipe = runs.write(runs.recipe("sft"))
    answer = said(capfd, ["plan", "--config", str(recipe), "--memory", "8GiB", flag, str(runs.folder / LONG)])
    assert "shorten that name" in answer


def test_report_of_a_folder_with_a_folder_for_its_page(tmp_path, capfd) -> None:
    metrics = {"bleu4": {"value": 1.0, "ci": None, "signature": "s"}}
    (tmp_path / "results.json").write_text(json.dumps({"systems": {"base": {"metrics": metrics}}}), encoding="utf-8")
    (tmp_path / "report.html").mkdir()
    assert "there is a folder of this name where a file is needed" in said(capfd, ["report", str(tmp_path)])
