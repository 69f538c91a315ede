"""benchmarks/new_rows.py: real trainings of a tiny model; what was measured is not measured again."""

import json
import sys
from pathlib import Path

import harness
import new_rows
import pytest


def test_a_stopped_comparison_goes_on(
    base: str, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    command = ["new_rows.py", "--base", base, "--corpus", str(corpus / "train.jsonl")]
    command += ["--held", str(corpus / "dev.jsonl"), "--source", "zh", "--target", "bo"]
    command += [word for name, value in (("tokens", 8), ("steps", 2), ("batch", 2), ("items", 2)) for word in
                (f"--{name}", str(value))]  # fmt: skip
    file = tmp_path / "new_rows.json"

    monkeypatch.setattr(sys, "argv", [*command, "--seeds", "1"])
    new_rows.main()
    first = json.loads(file.read_text(encoding="utf-8"))
    assert [(run["seed"], run["start"]) for run in first["runs"]] == [(0, start) for start in new_rows.STARTS]
    assert first["ratios"] == {run["start"]: run["nll"] for run in first["runs"]}
    assert capsys.readouterr().err.count("] seed ") == 3

    monkeypatch.setattr(sys, "argv", [*command, "--seeds", "2"])
    new_rows.main()
    both = json.loads(file.read_text(encoding="utf-8"))
    assert both["runs"][:3] == first["runs"] and len(both["runs"]) == 6
    assert capsys.readouterr().err.count("] seed ") == 3

    monkeypatch.setattr(sys, "argv", [*command, "--seeds", "1", "--lr", "0.01"])
    new_rows.main()
    assert "other settings or files" in capsys.readouterr().err
    assert len(json.loads(file.read_text(encoding="utf-8"))["runs"]) == 3
