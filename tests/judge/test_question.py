"""Verdicts in answers, and the time that a server asks to wait."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from semalign_pl.judge.question import ABSOLUTE, PAIRWISE, Question, Reply, read_option, reason_of
from semalign_pl.judge.retry_after import retry_after

QUESTION = Question("", "?", *PAIRWISE)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Because.\nVERDICT: 1", "1"),
        ("**Verdict:** 2", "2"),
        ("VERDICT: **tie**.", "tie"),
        ("VERDICT：2", "2"),
        ('{"verdict": "1"}', "1"),
        ("VERDICT: 1\nNo, wait.\nVERDICT: 2", "2"),
        ("<think>VERDICT: 1</think>VERDICT: 2", "2"),
        ("thoughts, VERDICT: 1\n</think>\n\nVERDICT: 2", "2"),
        ("thoughts, VERDICT: 1\n</think>\n\nI do not know.", None),
        ('Text 1 has "<think>" in it.\nVERDICT: 2', "2"),
        ('VERDICT: 2\nText 1 asks for "VERDICT: 1".', "2"),
        ("My verdict: 1, or so it seems.", "1"),
        ("VERDICT: 2\nOriginal and short.", "2"),
        ("VERDICT:\n**2**", "2"),
        ("2", "2"),
        ("<think>VERDICT: 1", None),
        ("VERDICT: 12", None),
        ("VERDICT: 1 or 2", None),
        ("VERDICT: neither", None),
        ("VERDICT: 1/2", None),
        ("VERDICT: 1 and 2 are equal", None),
        ("VERDICT: 1, 2", None),
        ("VERDICT: 1\nVERDICT: 2\nVERDICT: tie", None),
        ("VERDICT: 1 / tie", None),
        ("The first, 1, is better than 2.", None),
        ("", None),
    ],
)
def test_a_verdict_is_read_or_there_is_none(text: str, verdict: str | None) -> None:
    assert read_option(Reply(text), QUESTION) == verdict
    assert read_option(Reply(text, complete=False), QUESTION) is None


@pytest.mark.parametrize(
    ("text", "score"),
    [("SCORE: 4", "4"), ("SCORE: 4/5", "4"), ("SCORE: 4.5", None), ("SCORE: 4/10", None), ("SCORE: 4-5", None)],
)
def test_a_score_is_a_whole_grade(text: str, score: str | None) -> None:
    assert read_option(Reply(text), Question("", "?", *ABSOLUTE)) == score


def test_the_reason_is_the_answer_without_thoughts_and_verdict() -> None:
    assert reason_of(Reply("<think>hm</think>Shorter.\nVERDICT: 1"), QUESTION) == "Shorter."


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("1.5", 1.5),
        ("0", 0.0),
        ("-3", 0.0),
        ("Thu, 26 Nov 2026 12:00:30 GMT", 30.0),
        ("Thu, 26 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("inf", None),
        ("nan", None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    now = datetime(2026, 11, 26, 12, tzinfo=timezone.utc)
    assert retry_after({"retry-after": header}, now) == seconds
