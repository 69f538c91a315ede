"""Real corpora, configured in YAML only: each row is kept, or dropped and counted by reason."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from helpers.batch_recorder import parse

NANHAI = """
train: {shared}/nanhai_headlines_bo/headlines.jsonl
task: {{class_path: Headline, init_args: {{article: body, headline: title}}}}
"""
CMMLU = """
train: "{shared}/cmmlu/dev/*.csv"
task:
  class_path: Instruction
  init_args:
    prompt: "{{Question}}\\nA. {{A}}\\nB. {{B}}\\nC. {{C}}\\nD. {{D}}\\n答案："
    completion: "{{Answer}}"
    language: en
"""
CMRC = """
train: {shared}/cmrc2018/cmrc2018_trial.json
bad_rows: quarantine  # two questions are blank
task:
  class_path: Instruction
  init_args: {{prompt: "{{context}}\\n{{question}}", completion: "{{answer}}", language: zh}}
"""
WORDS = """
train: {shared}/tibetan_wordlists/botok_particles.tsv
task:
  class_path: Instruction
  init_args: {{prompt: "{{form}}", completion: "{{lemma}}"}}
"""
SYLLABLES = """
train: {shared}/tibetan_wordlists/syllables_nanhai.tsv
columns: {{syllable: "1", count: "2"}}
task:
  class_path: Instruction
  init_args: {{prompt: "{{count}}", completion: "{{syllable}}"}}
"""
BOTH_WAYS = """
train:
  - path: {shared}/udhr_bo_zh/pairs.jsonl
  - path: {shared}/udhr_bo_zh/pairs.jsonl
    task: {{class_path: Translation, init_args: {{source: bo, target: zh}}}}
"""
# YAML; number of rows read; possible reasons of drops with the default preparation.
SETS = {
    "mitra": ("train: {shared}/mitra_bo_zh/train.jsonl\nvalidation: {shared}/mitra_bo_zh/dev.jsonl", 60_000),
    "mitra dev": ("train: {shared}/mitra_bo_zh/dev.jsonl", 1000),
    "sib200": ("train: {shared}/sib200_flores_bo_zh/train.jsonl\ntest: {shared}/sib200_flores_bo_zh/dev.jsonl", 701),
    "sib200 en": (
        "train: {shared}/sib200_flores_bo_zh/dev.jsonl\n"
        "task: {{class_path: Translation, init_args: {{source: en, prompt_language: en}}}}",
        99,
    ),
    "sib200 zh-Hant": (
        "train: {shared}/sib200_flores_bo_zh/dev.jsonl\ncolumns: {{zh-Hant: zh_hant}}\n"
        "task: {{class_path: Translation, init_args: {{source: zh-Hant}}}}",
        99,
    ),
    "udhr": ("train: {shared}/udhr_bo_zh/pairs.jsonl", 80),
    "udhr both ways": (BOTH_WAYS, 160),
    "nanhai": (NANHAI, 635),
    "nanhai news": (NANHAI.replace("train: {", "train:\n  where: {{news: true}}\n  path: {"), 407),
    "cmmlu": (CMMLU, 335),
    "cmrc": (CMRC, 1002),
    "particles": (WORDS, 67),
    "syllables": (SYLLABLES, 3950),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_by_yaml_alone(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    yaml, rows = SETS[name]
    monkeypatch.chdir(tmp_path)
    lines = (yaml.format(shared=shared) + "\nprepare: {}").strip().replace("\n", "\n    ")
    data = parse(tmp_path, f"data:\n  class_path: CorpusDataModule\n  init_args:\n    {lines}\n").datamodule
    data.setup("fit")
    reports = [prepared.report for prepared in data.prepared["train"]]
    listed = [
        json.loads(line)["reason"]
        for prepared in data.prepared["train"]
        for line in (prepared.folder / "dropped.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert sum(report["read"] for report in reports) == rows
    assert sum(report["kept"] for report in reports) == len(data.examples["train"]) == rows - len(listed)
    assert sum((Counter(report["dropped"]) for report in reports), Counter()) == Counter(listed)
    assert len(data.examples["train"]) > 0.85 * rows or name.startswith(("udhr", "particles"))
    if name == "mitra":
        assert "leak" not in reports[0]["dropped"]
    if name == "sib200":
        assert reports[0]["dropped"]["leak"] == 1
    if name == "cmrc":
        assert reports[0]["dropped"]["bad_row"] == 2
    first = data.examples["train"][0]
    assert first.prompt and first.reference and first.source
    print(name, reports)
