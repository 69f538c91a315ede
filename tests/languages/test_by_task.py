"""The language of a setting against that of the only task: another script is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from semalign_pl.languages import get_language
from semalign_pl.languages.by_task import check_language


@pytest.mark.parametrize(
    ("setting", "target"), [("kk", "kk-Arab"), ("ug", "mn"), ("mn", "kk-Arab"), ("mn", "mn-Mong"), ("bo", "th")]
)
def test_another_script_is_refused_even_if_both_cut_text_into_words(setting: str, target: str) -> None:
    with pytest.raises(ValueError, match=f"^Evaluation.language: {setting}, but the task answers in {target}; set"):
        check_language("Evaluation", get_language(setting), target)


@pytest.mark.parametrize(
    ("setting", "target"), [("bo", "bo"), ("dz", "bo"), ("kk", "mn"), ("zh-Hant", "zh"), ("bo", "")]
)
def test_a_language_of_the_same_script_passes(setting: str, target: str) -> None:
    check_language("Evaluation", get_language(setting), target)


@pytest.mark.parametrize("unit", ["", "unit: word\n"])
def test_a_file_that_adds_a_script_passes(tmp_path: Path, unit: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(f"code: bo-latin\nlike: bo\nscripts: [Tibetan, Latin]\n{unit}", encoding="utf-8")
    check_language("Evaluation", get_language(str(file)), "bo")
    check_language("Evaluation", get_language("bo"), str(file))
