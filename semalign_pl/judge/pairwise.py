"""Pairs of answers as questions in both orders, and the judge's verdicts as judgements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from semalign_pl.judge.ask import Outcome
from semalign_pl.judge.pairs import Pair
from semalign_pl.judge.question import Question, reason_of
from semalign_pl.judge.records import Judgement, Side, Winner
from semalign_pl.judge.rubric import Rubric

ORDERS: tuple[Side, Side] = ("a", "b")


def questions_of(pairs: Iterable[Pair], rubric: Rubric) -> list[Question]:
    """Two questions per pair: A shown first, then B shown first.

    Args:
        pairs: Pairs of answers.
        rubric: Prompts of the judge.
    """
    return [
        rubric.compare(pair.source, pair.reference, *((pair.a, pair.b) if first == "a" else (pair.b, pair.a)))
        for pair in pairs
        for first in ORDERS
    ]


def judgements_of(
    judge: str, rubric: Rubric, pairs: Sequence[Pair], questions: Sequence[Question], outcomes: Sequence[Outcome]
) -> list[Judgement]:
    """Judgements from the outcomes of `questions_of`.

    Args:
        judge: Name of the judge.
        rubric: Prompts of the judge.
        pairs: Pairs of answers.
        questions: Questions about the pairs.
        outcomes: Outcome of each question.
    """
    places: list[tuple[str, Side]] = [(pair.id, first) for pair in pairs for first in ORDERS]
    return [
        Judgement(
            id=id,
            judge=judge,
            rubric=rubric.name,
            first=first,
            winner=winner_of(outcome.option, first),
            reason=(outcome.refused or reason_of(outcome.reply, question)) or None,
            prompt_tokens=outcome.reply.prompt_tokens,
            completion_tokens=outcome.reply.completion_tokens,
        )
        for (id, first), question, outcome in zip(places, questions, outcomes, strict=True)
    ]


def winner_of(option: str | None, first: Side) -> Winner | None:
    """Side that a verdict prefers.

    Args:
        option: Verdict: ``1`` for the text shown first, ``2`` for the second, ``tie``; ``None`` without a verdict.
        first: Side that was shown first.

    >>> winner_of("1", "b"), winner_of("2", "b"), winner_of("tie", "b"), winner_of(None, "b")
    ('b', 'a', 'tie', None)
    """
    second: Side = "b" if first == "a" else "a"
    verdicts: dict[str | None, Winner] = {"1": first, "2": second, "tie": "tie"}
    return verdicts.get(option)
