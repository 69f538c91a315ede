"""Real sentences with the shipped configs: no crash, byte-level sequences are handled, no row is lost."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from semalign_pl.__main__ import main
from semalign_pl.languages import get_language

ROOT = Path(__file__).parents[1]
CORPORA = {"sib200": "sib200_flores_bo_zh", "cmrc2018": "cmrc2018", "mitra": "mitra_bo_zh"}
"""Folders of the real corpora, by the name of the data set that ``semalign data`` gets in their place."""


@pytest.mark.slow
def test_real_pairs_sft_grpo_test_and_source_only_grpo(shared, miniature, tmp_path, monkeypatch):
    work = tmp_path / "main"
    (work / "data").mkdir(parents=True)
    for name, corpus in CORPORA.items():
        (work / "data" / name).symlink_to(shared / corpus)
    (work / "configs").symlink_to(ROOT / "configs")
    (work / "runs" / "quickstart").mkdir(parents=True)
    shutil.copytree(miniature, work / "runs" / "quickstart" / "world")
    monkeypatch.chdir(work)

    quick = ["--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"]
    sft = [
        "fit",
        "--config",
        "configs/real/sft.yaml",
        "--data.init_args.limit",
        "24",
        "--data.init_args.batch_size",
        "8",
    ]
    assert main([*sft, *quick]) == 0
    with Path("runs/real/sft/metrics.csv").open(encoding="utf-8") as file:
        steps = [row for row in csv.DictReader(file) if row["train/loss"]]
    assert len(steps) == 3
    assert sum(float(row["train/rows_too_long"]) for row in steps) == 0

    grpo = ["--config", "configs/real/grpo.yaml", "--model.init_args.max_new_tokens", "64"]
    assert main(["fit", *grpo, "--trainer.max_steps", "2", "--data.init_args.batch_size", "2", *quick]) == 0
    completions = [json.loads(line) for line in Path("runs/real/grpo/completions.jsonl").open(encoding="utf-8")]
    assert len(completions) == 2 * 2 * 4 and all(row["reward"] is not None for row in completions)

    adapter = ["--model.init_args.adapter", "runs/real/grpo/adapter"]
    assert main(["test", *grpo, *adapter, *quick]) == 0
    rows = [json.loads(line) for line in Path("runs/real/grpo/predictions.jsonl").open(encoding="utf-8")]
    dev = [json.loads(line) for line in (shared / "sib200_flores_bo_zh" / "dev.jsonl").open(encoding="utf-8")]
    assert [row["reference"] for row in rows] == [get_language("bo").normalise(row["bo"]) for row in dev]
    report = json.loads(Path("runs/real/grpo/corpus/train.json").read_text(encoding="utf-8"))["corpora"][0]
    assert report["read"] == 701 == report["kept"] + sum(report["dropped"].values()) and report["dropped"]["leak"] == 1
    results = json.loads(Path("runs/real/grpo/results.json").read_text(encoding="utf-8"))
    assert results["run"]["rows"] == len(dev) == 99
    assert "questions:50|" in results["metrics"]["cmrc_f1"]["signature"]

    alone = ["--config", "configs/real/source_only.yaml", "--model.init_args.max_new_tokens", "64"]
    assert main(["fit", *alone, "--trainer.max_steps", "1", "--data.init_args.limit", "8", *quick]) == 0
    completions = [json.loads(line) for line in Path("runs/real/source_only/completions.jsonl").open(encoding="utf-8")]
    assert len(completions) == 2 * 4 and {row["reference"] for row in completions} == {""}
    adapter = ["--model.init_args.adapter", "runs/real/source_only/adapter"]
    recover = ["--trainer.default_root_dir", "runs/real/recover", "--trainer.max_steps", "1"]
    assert main([*sft, *adapter, *recover, *quick]) == 0
