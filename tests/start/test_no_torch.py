"""Commands that need no torch start without it: one process runs them all, and names what each one imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.report_study import write_study

from semalign_pl.__main__ import COMMANDS

CONFIGS = Path(__file__).parents[2] / "configs"
HEAVY = ["torch", "lightning", "transformers", "sentence_transformers", "jsonargparse", "datasets", "peft"]
# The commands are run in this order, so that the first one to import a library is the one that is named.
IN_ONE_PROCESS = """
import contextlib, io, json, sys
import semalign_pl
from semalign_pl.__main__ import main
heavy = set(json.loads(sys.argv[1]))
done = [["import semalign_pl", 0, "", sorted(heavy & set(sys.modules))]]
for args in json.loads(sys.argv[2]):
    out, before = io.StringIO(), set(sys.modules)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            status = main(args)
        except SystemExit as ended:
            status = ended.code or 0
    done.append([" ".join(args[:2]), status, out.getvalue(), sorted(heavy & (set(sys.modules) - before))])
print(json.dumps(done))
"""
PRINTED = {
    "study --config": ["semalign fit --config "],
    "study -h": ["--dry-run"],
    "frontier --help": ["RUN/adapter", "--scales", "--scale_from", "--steps", "--out"],
    "dial --help": ["--scale_from"],
    "corpus --help": ["--splits"],
    "corpus pairs.jsonl": ["40"],
    "report study": ["chrF"],
    "judge a.jsonl": ["4 pairs"],
    "runs .": ["finished"],
    "recipes copy": ["my/cold_start.yaml"],
    "data": ["mitra"],
}
"""Texts that a command prints, by its first two words: it did its work, and did not end early."""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, list[str]]]:
    """Status, output and imported libraries of each command, by its first two words."""
    folder = tmp_path_factory.mktemp("here")
    write_study(folder / "study", seeds=1, rows=12)
    for name, count in (("pairs", 40), ("dev", 8)):
        write_rows(folder / f"{name}.jsonl", [{"zh": f"我们看书。{n}", "bo": f"བོད་{n}།"} for n in range(count)])
    for side in "ab":
        rows = [{"id": f"{n}", "source": "我们", "reference": "བོད།", "prediction": f"{side}{n}"} for n in range(4)]
        write_rows(folder / f"{side}.jsonl", rows)
    (folder / "run" / "adapter").mkdir(parents=True)
    (folder / "run" / "adapter" / "training.json").write_text('{"steps": 1}')
    (folder / "run" / "fit.yaml").write_text("trainer: {max_steps: 1}\n")
    study = ["study", "--config", str(CONFIGS / "quickstart"), "--out", "out", "--dry-run"]
    commands = [
        *([], ["--version"], ["--help"], ["nothing"]),
        *([name, "--help"] for name in COMMANDS),
        *(["recipes"], ["recipes", "copy", "quickstart", "my"], ["completion", "bash"], ["runs", "."], ["data"]),
        *(study, ["study", "-h"], ["judge", "a.jsonl", "b.jsonl", "--humans", "--out", "people"]),
        *(["report", "study"], ["corpus", "pairs.jsonl", "dev.jsonl"]),
        ["fit", "--config", str(CONFIGS / "quickstart" / "cold_start.yaml"), "--model.init_args.bse", "x"],
    ]
    command = [sys.executable, "-c", IN_ONE_PROCESS, json.dumps(HEAVY), json.dumps(commands)]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return {name: (status, printed, heavy) for name, status, printed, heavy in json.loads(ended.stdout)}


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def test_no_command_imports_torch(done: dict[str, tuple[int, str, list[str]]]) -> None:
    assert {name: heavy for name, (_, _, heavy) in done.items() if heavy} == {}


def test_each_did_its_work(done: dict[str, tuple[int, str, list[str]]]) -> None:
    failed = {name: printed for name, (status, printed, _) in done.items() if status}
    assert set(failed) == {"nothing", "fit --config"}, failed
    assert "did you mean base?" in failed["fit --config"]
    assert [(name, text) for name, texts in PRINTED.items() for text in texts if text not in done[name][1]] == []
