"""The study of configs/real for a stranger: another pair of languages and another base, by YAML alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import real
import yaml
from helpers.pairs import PAIRS
from helpers.small_runs import Runs

SHORT = Path(__file__).parents[1] / "configs" / "real" / "short"


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_english(folder: Path) -> None:
    """Small files of the layouts that ``semalign data choices blimp xquad sib200`` makes."""
    asked = [{"query": f"Question: {n}?", "choices": [f"{n} and one", "none"], "gold": n % 2} for n in range(4)]
    for name in ("arc_easy", "piqa", "copa", "openbook_qa"):
        write_lines(folder / "choices" / f"{name}.jsonl", asked)
    write_lines(
        folder / "blimp" / "blimp.jsonl", [{"good": f"{n} is.", "bad": f"is {n}.", "paradigm": "p"} for n in "ab"]
    )
    write_lines(folder / "sib200" / "train.jsonl", [{"en": f"The sentence {n}."} for n in range(4)])
    paragraphs = [{"context": f"Text {n} is\nhere.", "qas": [{"question": f"Which {n}? "}]} for n in range(3)]
    (folder / "xquad").mkdir()
    (folder / "xquad" / "xquad_en.json").write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))


@pytest.fixture
def mine(tmp_path: Path, base: str, corpus: Path) -> Path:
    """Copy of the short study with another base, other columns and other files, and with fewer steps."""
    task = {"class_path": "Translation", "init_args": {"source": "zh", "target": "bo", "prompt": "藏文：{source}"}}
    data = {"train": str(corpus / "train.jsonl"), "test": str(corpus / "dev.jsonl"), "task": task, "batch_size": 4}
    recipe = yaml.safe_load((SHORT / "cold_start.yaml").read_text(encoding="utf-8"))
    recipe["trainer"] |= {"accelerator": "cpu", "enable_progress_bar": False}
    recipe["trainer"]["callbacks"][0]["init_args"] = {"language": "bo", "encoder": "runs/mine/second/encoder"}
    vocabulary = {"language": "bo", "corpus": data["train"], "column": "bo", "tokens": 20, "min_count": 2}
    recipe["model"]["init_args"] |= {
        "base": base,
        "vocabulary": vocabulary,
        "lora": {"r": 2, "alpha": 4},
        "max_new_tokens": 60,
    }
    recipe["data"]["init_args"] = data | {"limit": 8}
    encoder = yaml.safe_load((SHORT.parent / "encoder.yaml").read_text(encoding="utf-8"))
    encoder["trainer"] |= {"accelerator": "cpu", "default_root_dir": "runs/mine/reward", "max_epochs": 1}
    encoder["trainer"] |= {"enable_progress_bar": False, "check_val_every_n_epoch": 1}
    encoder["model"]["init_args"]["base"] = "runs/mine/untrained/reward"
    encoder["data"]["init_args"] = data | {"validation": data["test"]}
    study = yaml.safe_load((SHORT / "study.yaml").read_text(encoding="utf-8"))
    study["frontier"] |= {"scales": [0.5], "costs": ["nll_change_mean", "english_exact_match"]}
    study["sft"]["set"] = {"data.init_args.skip": 8, "data.init_args.limit": 8}
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, content in (("cold_start", recipe), ("encoder", encoder), ("study", study)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return folder


def test_another_pair_and_another_base_by_yaml_alone(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(mine.parent)
    write_english(Path("data"))
    args = ["--config", "mine", "--encoder", "mine/encoder.yaml", "--out", "runs/mine/study"]
    real.main([*args, "--dry-run"])
    plan = capsys.readouterr().out
    assert "hours of one core" in plan and "frontier sft" in plan and not Path("runs/mine").exists()
    real.main(args)
    content = json.loads(Path("runs/mine/study/real.json").read_text(encoding="utf-8"))
    assert list(content["metrics"]) == ["base", "cold_start", "sft"]
    assert {*real.SHOWN} <= {*content["metrics"]["sft"]}
    assert {"end", "scale-0.5"} == {*content["points"]["sft"]}
    references = {pair["bo"] for pair in PAIRS[40:]}
    assert len(content["samples"]) == 8 and {one["reference"] for one in content["samples"]} == references
    page = Path("runs/mine/study/real.md").read_text(encoding="utf-8")
    assert all(one["sentence"] in page for one in content["verdicts"])
    assert f"{content['metrics']['sft']['chrf']['value']:.1f}" in page and "| cold_start |" in page
    assert not Path("docs").exists()  # only the study of configs/real writes the published page

    questions = [json.loads(line) for line in Path("runs/real/general/questions.jsonl").open(encoding="utf-8")]
    assert [one["question"] for one in questions] == ["Which 0?", "Which 1?", "Which 2?"]
    assert Path("runs/real/general/paragraphs.txt").read_text().splitlines()[0] == "Text 0 is here."

    recipe = yaml.safe_load((mine / "encoder.yaml").read_text(encoding="utf-8"))
    pairs = Path(recipe["data"]["init_args"]["train"])
    other = mine / "other.jsonl"
    other.write_text(pairs.read_text(encoding="utf-8") + json.dumps({"zh": "山", "bo": "རི"}) + "\n", encoding="utf-8")
    recipe["data"]["init_args"]["train"] = str(other)
    (mine / "encoder.yaml").write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    with pytest.raises(SystemExit, match=r"runs/mine/reward: its encoder is of other pairs or another recipe; delete"):
        real.main(args)


def test_a_start_that_earns_too_little_is_not_trained(runs: Runs) -> None:
    signal = {"class_path": "RewardSignal", "init_args": {"reward": "language", "min_mean": 0.9}}
    with pytest.raises(ValueError, match=r"RewardSignal: language is too weak .* completions is 0\.\d+ .*cold start"):
        runs("fit", "grpo", "run", "trainer.max_steps=2", callbacks=[signal])
    assert not (runs.folder / "run" / "adapter").exists()
