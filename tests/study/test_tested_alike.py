"""Systems whose tests would differ are refused before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from semalign_pl.study.command import run_study
from semalign_pl.study.frontier_settings import FrontierSettings
from semalign_pl.study.study_file import read_study
from semalign_pl.study.systems import Study, System
from semalign_pl.study.tested_alike import check_tested_alike

CONFIGS = Path(__file__).parents[2] / "configs"
STUDIES = [file.parent for file in sorted(CONFIGS.rglob("study.yaml")) if "\nfrontier:" in f"\n{file.read_text()}"]
SFT, GRPO = (CONFIGS / "quickstart" / f"{name}.yaml" for name in ("cold_start", "semantic_grpo"))


def study(*systems: System, compare: tuple[tuple[str, str], ...] = (("first", "second"),)) -> Study:
    return Study([*systems], FrontierSettings(scales=(0.5,), compare=compare))


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: str(folder.relative_to(CONFIGS)))
def test_systems_of_a_shipped_study_are_tested_alike(folder: Path) -> None:
    check_tested_alike(read_study(folder), f"{folder}/study.yaml")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--data.init_args.test", "dev.jsonl"), "data.init_args.test dev.jsonl, and first"),
        (("--data.init_args.eval_limit", "7"), "data.init_args.eval_limit 7, and first"),
        (("--model.init_args.max_new_tokens", "9"), "model.init_args.max_new_tokens 9, and first"),
        (
            ("--trainer.callbacks", "[{class_path: ReadingComprehensionProbe, init_args: {file: other.json}}]"),
            "ReadingComprehensionProbe: file other.json, and first",
        ),
        (("--trainer.callbacks", "[{class_path: Evaluation, init_args: {language: zh}}]"), "Evaluation: language zh"),
    ],
)
def test_another_test_is_refused(flags: tuple[str, ...], said: str) -> None:
    first, second = System("first", SFT, "base"), System("second", SFT, "base", flags=flags)
    with pytest.raises(ValueError) as error:
        check_tested_alike(study(first, second), "study.yaml: frontier.compare")
    assert str(error.value).startswith("study.yaml: frontier.compare: second would be tested with ")
    assert said in str(error.value) and "; give both the same, list another system first" in str(error.value)
    check_tested_alike(study(first, replace(second, name="other")), "a system that is not compared")


def test_what_training_alone_depends_on_is_no_difference() -> None:
    flags = ("--data.init_args.limit", "7", "--data.init_args.train", "other.jsonl", "--trainer.max_steps", "3")
    check_tested_alike(study(System("first", SFT, "base"), System("second", GRPO, "first", flags=flags)), "")


def test_a_study_says_so_before_its_first_step(tmp_path: Path) -> None:
    (tmp_path / "sft.yaml").write_bytes(SFT.read_bytes())
    (tmp_path / "study.yaml").write_text(
        "frontier: {scales: [0.5], compare: [[a, b]]}\na: {from: base, config: sft.yaml}\n"
        "b: {from: a, config: sft.yaml, set: {data.init_args.test: dev.jsonl}}\n"
    )
    with pytest.raises(
        ValueError, match=r"study\.yaml: frontier\.compare: b would be tested with data\.init_args\.test"
    ):
        run_study(tmp_path, tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()
