"""JudgeReward against a real local server: grades, comparisons, cache, cost, and a run of GRPO."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from helpers.judge_server import send, serving, texts_of

from semalign_pl.rewards import JudgeReward
from semalign_pl.types import Example

KEY = "sk-planted-0123456789abcdef"
EXAMPLE = Example("1", "translate: x", "the reference", {"zh": "源"})


def grade(prompt: str) -> str:
    text = prompt.split("<translation>\n")[1].split("\n</translation>")[0]
    return f"SCORE: {len(text)}"  # more than 5 characters are no grade


def test_a_grade_from_0_to_1() -> None:
    with serving(grade) as server:
        reward = JudgeReward(f"m@{server.url}")
        scores = reward([EXAMPLE] * 6, ["a", "abc", "abcde", "abcde", "too long", " "])
    assert scores.tolist()[:4] == [0.0, 0.5, 1.0, 1.0] and math.isnan(scores[4]) and scores[5] == 0.0
    assert len(server.requests) == 5  # equal completions once, an answer without a verdict twice, an empty one never
    assert reward.cost.unscored == 1 and reward.cost.prompt_tokens == 500 and reward.cost.completion_tokens == 50
    assert reward.cost.questions == 4 and reward.cost.seconds > 0
    assert "the reference" in server.requests[0]["messages"][-1]["content"]


def test_the_source_and_no_reference_are_shown() -> None:
    with serving(grade) as server:
        reward = JudgeReward(f"m@{server.url}", source="zh", with_reference=False)
        reward([EXAMPLE], ["abc"])
        prompt = server.requests[0]["messages"][-1]["content"]
        assert "<source>\n源\n</source>" in prompt and "reference" not in prompt
        with pytest.raises(ValueError, match="JudgeReward.source: no column of the corpus is called 'en'; take one of"):
            JudgeReward(f"m@{server.url}", source="en")([EXAMPLE], ["abc"])


def test_a_judge_that_is_told_one_language_of_several_is_warned_of() -> None:
    rows = [
        Example(f"{corpus}:1", "?", "x", corpus=corpus, language=code) for corpus, code in (("a", "bo"), ("b", "zh"))
    ]
    warning = JudgeReward("local:x", language="Tibetan").check_languages(rows)
    assert warning is not None and "told Tibetan for every completion, but the tasks have a in bo, b in zh" in warning
    assert JudgeReward("local:x").check_languages(rows) is None
    assert JudgeReward("local:x", language="Tibetan").check_languages([rows[0], rows[0], EXAMPLE]) is None


def test_a_comparison_with_the_reference_in_both_orders() -> None:
    def longer(prompt: str) -> str:
        one, two = (len(text) for text in texts_of(prompt))
        return f"VERDICT: {'tie' if one == two else 1 if one > two else 2}"

    completions = ["short", "longer than the reference", "same as this."]
    with serving(longer) as server:
        assert JudgeReward(f"m@{server.url}", pairwise=True)([EXAMPLE] * 3, completions).tolist() == [0.0, 1.0, 0.5]
        assert len(server.requests) == 6
    with serving(lambda prompt: "VERDICT: 1") as server:
        assert JudgeReward(f"m@{server.url}", pairwise=True)([EXAMPLE], ["x"]).tolist() == [0.5]


def test_a_local_judge_gives_the_mean_of_the_grades(base: str, tmp_path: Path, monkeypatch) -> None:
    from semalign_pl.judge.local import LocalModel

    monkeypatch.chdir(tmp_path)
    reward = JudgeReward(f"local:{base}", weights="fp32")
    (score,) = reward([EXAMPLE], ["abc"]).tolist()
    question = reward.rubric.grade(EXAMPLE.prompt, EXAMPLE.reference, "abc")
    probabilities = LocalModel(base, tmp_path / "digests.json", "fp32").choose(question).probabilities
    assert score == pytest.approx(sum(p * i / 4 for i, p in enumerate(probabilities)), abs=1e-6)
    assert "weights:fp32" in reward.signature


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"judge": "m"}, r"JudgeReward.judge: 'm' is no judge; give MODEL@URL"),
        ({"judge": "m@http://h/v1", "rubric": "none"}, r"JudgeReward.rubric: there is no rubric 'none'"),
        ({"judge": "m@http://h/v1", "parallel": 0}, r"JudgeReward.parallel: 0 is not positive"),
        ({"judge": "m@http://h/v1", "per_minute": 0.0}, r"JudgeReward.per_minute: 0 is not positive"),
        ({"judge": "m@http://h/v1", "retries": -1}, r"JudgeReward.retries: -1 is negative"),
    ],
)
def test_a_mistake_is_named(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        JudgeReward(**options)


def test_a_run_logs_the_cost_keeps_the_answers_and_no_key(
    runs, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    echo = send(500, {"error": {"message": f"Bearer {KEY}"}})
    with serving(lambda prompt: f"You sent {KEY}\nSCORE: {1 + len(prompt) % 5}", echo) as server:
        options = {"judge": f"m@{server.url},JUDGE_KEY", "parallel": 4}
        runs("fit", "grpo", "judge", callbacks=[{"class_path": "JudgeReward", "init_args": options}])
    folder = runs.folder / "judge"
    rows = runs.metrics("judge")
    spent = [float(row["train/judge/prompt_tokens"]) for row in rows if row.get("train/judge/prompt_tokens")]
    answers = [json.loads(line) for line in (folder / "judge_answers.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sum(spent) == sum(row["prompt_tokens"] for row in answers) > 0
    assert any(row.get("train/judge/seconds") for row in rows) and any(row.get("train/reward/judge") for row in rows)
    assert set(server.keys) == {f"Bearer {KEY}"}
    shown = capfd.readouterr()
    assert KEY not in shown.out + shown.err
    assert [file for file in runs.folder.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()] == []
