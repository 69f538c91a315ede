"""benchmarks/ladder.py: the table of kept seeds, and the command that makes it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import harness
import ladder
import pytest
import yaml
from seed_file import digest_of

from semalign_pl.run.digests import Digests
from semalign_pl.study.study_file import read_study

ROOT = Path(__file__).parents[2]


def test_the_command_has_the_seeds_of_the_table(
    miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/quickstart", "docs/results", "results/ladder"):
        Path(folder).mkdir(parents=True)
    Path("runs/quickstart/world").symlink_to(miniature)
    configs = tmp_path / "configs"
    shutil.copytree(ROOT / "configs" / "ladder", configs)
    whole = yaml.safe_load((configs / "study.yaml").read_text(encoding="utf-8"))
    study = {key: whole[key] for key in ("frontier", "cold_start", "sft", "sft_kl")}  # few, to be quick
    study["frontier"]["compare"] = [["sft", "sft_kl"]]
    (configs / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    expected = digest_of(read_study(configs), configs, Digests(Path("digests.json")))
    for seed in (0, 2):
        name = f"ladder/seed_{seed}.json"
        content = json.loads((harness.RESULTS / name).read_text(encoding="utf-8"))
        Path("results", name).write_text(json.dumps({**content, "digest": expected}), encoding="utf-8")
    monkeypatch.setattr(harness, "RESULTS", Path("results"))
    monkeypatch.setattr(sys, "argv", ["ladder.py", "--only-seeds", "0,2", "--config", str(configs)])
    ladder.main()
    written = json.loads(Path("results/ladder.json").read_text(encoding="utf-8"))
    assert written["seeds"] == [0, 2]
    assert written["command"] == "python benchmarks/ladder.py --only-seeds 0,2"
