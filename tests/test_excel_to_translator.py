"""From a sheet to a translator, with the commands that `semalign init` prints and no file edited by hand."""

import csv
import json
import shlex
import shutil
from pathlib import Path

import openpyxl
import pytest
from transformers import AutoModelForCausalLM

from semalign_pl.__main__ import main


def write_sheet(path: Path, pairs: Path) -> None:
    """Write 300 pairs as people keep them: numbered, with notes, blank rows, and one row not translated yet."""
    rows = [json.loads(line) for line in pairs.read_text(encoding="utf-8").splitlines()[:300]]
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append(["编号", "汉文", "藏文", "备注"])
    for number, row in enumerate(rows, start=1):
        if number in (50, 51, 200):
            sheet.append([None, " ", None, None])
        sheet.append([number, row["zh"], None if number == 70 else row["bo"], "已经校对" if number % 40 == 0 else None])
    for _ in range(3):
        sheet.append([None, "", " ", None])
    book.save(path)


@pytest.mark.slow
def test_from_excel_to_a_translator(tmp_path, miniature, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(miniature, Path("world"))
    write_sheet(Path("my.xlsx"), Path("world/pairs/train.jsonl"))
    capsys.readouterr()
    assert main(["init", "my.xlsx", "--base", "world/base", "--encoder", "world/base"]) == 0
    printed = capsys.readouterr().out
    commands = [shlex.split(line, comments=True) for line in printed.splitlines() if line.startswith("  semalign ")]
    assert [command[1] for command in commands] == ["fit", "fit", "fit", "test"]
    assert "300 rows read, 299 kept" in printed

    # Flags make the stages short; all other settings are those of the recipes.
    short = ["--trainer.enable_progress_bar", "false"]
    steps = [["--trainer.max_epochs", "2"], ["--trainer.max_epochs", "2"], ["--trainer.max_steps", "2"], []]
    for command, flags in zip(commands, steps, strict=True):
        assert main([*command[1:], *flags, *short]) == 0, command

    run = Path("my/runs/grpo")
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    rows = [json.loads(line) for line in Path("my/data/test.jsonl").read_text(encoding="utf-8").splitlines()]
    assert results["run"]["rows"] == len(rows) == 29
    assert {"chrf", "semantic_similarity", "nll_change_mean"} <= results["metrics"].keys()
    predictions = [json.loads(line) for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["reference"] for row in predictions] == [row["bo"] for row in rows]

    for stage in ("embedder", "cold_start", "grpo"):  # the limits drop nothing, and no row leaks into training
        report = json.loads(Path(f"my/runs/{stage}/corpus/train.json").read_text(encoding="utf-8"))["corpora"][0]
        assert report["read"] == 256 and "leak" not in report["dropped"]
        assert report["kept"] >= 0.99 * report["read"]
    with Path("my/runs/cold_start/metrics.csv").open(encoding="utf-8") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert losses[-1] < losses[0]

    Path("in.txt").write_text("".join(row["zh"] + "\n" for row in rows[:3]), encoding="utf-8")
    assert main(["translate", str(run), "--file", "in.txt", "--out", "out.jsonl"]) == 0
    translated = [json.loads(line) for line in Path("out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["prediction"] for row in translated] == [row["prediction"] for row in predictions[:3]]
    assert main(["export", str(run), "--merge"]) == 0
    assert AutoModelForCausalLM.from_pretrained(run / "export" / "model").config.vocab_size > 0
    card = (run / "export" / "model" / "README.md").read_text(encoding="utf-8")
    assert f"{results['metrics']['chrf']['value']:.4g}" in card, "the card has the scores of the test"
