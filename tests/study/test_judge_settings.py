"""Judges of a study: settings that would be ignored or mixed are refused, and so is what fails only after training."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from semalign_pl.__main__ import main
from semalign_pl.judge import rubric
from semalign_pl.run.digests import Digests
from semalign_pl.study.grounds import collect_judge
from semalign_pl.study.judge_check import check_judge
from semalign_pl.study.protocol import Step
from semalign_pl.study.study_file import read_study

SERVER = "m@http://localhost:1/v1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Recipes ``a.yaml`` and ``b.yaml``; their content is not read here."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").touch()
    return tmp_path


def write(folder: Path, judge: str) -> Path:
    (folder / "study.yaml").write_text(f"judge: {judge}\na: {{from: base}}\nb: {{from: a}}\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ("{judges: [local:x], pairs: {headline: [[a, b], [a, b]]}}", "pairs.headline: ['a', 'b'] is listed twice"),
        (
            "{judges: [local:x], pairs: {headline: [[a, b]], translation: [[a, b]]}}",
            "pairs.translation: ['a', 'b'] is listed twice",
        ),
        ("{judges: [local:x], pairs: {headline: [[a, b]]}, set: {rubric: translation}}", "set.rubric: cannot be set"),
        ("{judges: [local:x], pairs: {headline: [[a, b]]}, set: {out: x}}", "set.out: cannot be set here"),
        ("{judges: [local:x], pairs: {headline: [[a, c]]}}", "there is no system 'c' without variants; name two of a"),
    ],
)
def test_settings_that_the_study_would_mix_or_ignore_are_refused(folder: Path, judge: str, said: str) -> None:
    """Two rubrics of one pair would write one folder, and the second one's judgements would count for both."""
    with pytest.raises(ValueError) as refused:
        read_study(write(folder, judge))
    assert str(refused.value).startswith(f"{folder / 'study.yaml'}: judge.") and said in str(refused.value)


def test_a_variant_is_not_judged(folder: Path) -> None:
    """After a choice on other data, the other variants are neither trained with every seed nor tested."""
    recipe = Path(__file__).parents[2] / "configs" / "quickstart" / "semantic_grpo.yaml"
    (folder / "a.yaml").write_bytes(recipe.read_bytes())
    (folder / "study.yaml").write_text(
        "frontier: {}\njudge: {judges: [local:x], pairs: {translation: [[a.beta-0.1, b]]}}\n"
        "a: {from: base, over: {beta: [0.1, 0.2]}}\nb: {from: base}\n",
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match=r"there is no system 'a.beta-0.1' without variants; name two of b$"):
        read_study(folder)


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        (f"{{judges: ['{SERVER}'], pairs: {{headline: [[a, b]]}}, set: {{paralel: 4}}}}", "judge.set: --paralel: "),
        (f"{{judges: ['{SERVER}'], pairs: {{gone: [[a, b]]}}}}", "judge.pairs: there is no rubric 'gone'"),
        (f"{{judges: ['{SERVER}'], pairs: {{grade.yaml: [[a, b]]}}}}", "grade.yaml: pairwise: missing"),
        ("{judges: ['m@https://api.openai.com/v1'], pairs: {headline: [[a, b]]}}", "OPENAI_API_KEY is not set"),
        ("{judges: [local:./gone], pairs: {headline: [[a, b]]}}", "judge.judges: there is no folder ./gone"),
    ],
)
def test_what_fails_only_when_it_is_asked_is_refused_before_training(
    folder: Path, judge: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (folder / "grade.yaml").write_text('absolute: "{{ text }} SCORE:"\n', encoding="utf-8")
    assert main(["study", "--config", str(write(folder, judge)), "--out", str(folder / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (folder / "out").exists()


def test_a_missing_client_is_refused_before_training(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = read_study(write(folder, f"{{judges: ['{SERVER}'], pairs: {{headline: [[a, b]]}}}}"))
    check_judge(study, "judge")
    monkeypatch.setitem(sys.modules, "openai", None)  # what Python does if it is not installed
    with pytest.raises(ValueError, match=r"^judge: m: openai is not installed; pip install"):
        check_judge(study, "judge")


def test_other_prompts_answers_or_models_are_judged_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of the package may have other prompts under the same name, which is all that the flags say."""
    shipped = folder / "rubrics"
    shipped.mkdir()
    (shipped / "headline.yaml").write_bytes((rubric.FOLDER / "headline.yaml").read_bytes())
    monkeypatch.setattr(rubric, "FOLDER", shipped)
    for name in ("one", "other", "model"):
        (folder / name).mkdir()
    files = [folder / "one" / "predictions.jsonl", folder / "other" / "predictions.jsonl", folder / "model" / "a.bin"]
    for file in files:
        file.write_text("a", encoding="utf-8")
    flags = ("--judge", f"local:{folder / 'model'}", "--rubric", "headline")
    answers = (folder / "one", folder / "other")
    step = Step("judge", "one-vs-other", 0, Path(), folder / "out", None, flags, answers=answers)

    def now() -> dict[str, str]:
        return collect_judge(step, Digests(folder / "digests.json"))

    before = now()
    assert [name for name in before if name.startswith("file ")] == [f"file {file}" for file in files]
    prompts = shipped / "headline.yaml"
    prompts.write_text(f"# a comment\n{prompts.read_text(encoding='utf-8')}", encoding="utf-8")
    assert now() == before
    prompts.write_text(prompts.read_text(encoding="utf-8").replace("VERDICT:", "VERDICT: ", 1), encoding="utf-8")
    assert {name for name, value in now().items() if before[name] != value} == {"setting prompts"}
