"""Ask several judges about all pairs, with progress; answers are kept on disk as they are received."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from semalign_pl.judge.answers import Answers, key_of
from semalign_pl.judge.ask import Outcome, ask_all
from semalign_pl.judge.endpoint import Endpoint
from semalign_pl.judge.interruptible import run_interruptible
from semalign_pl.judge.local import LocalModel
from semalign_pl.judge.pairs import Pair
from semalign_pl.judge.pairwise import judgements_of, questions_of
from semalign_pl.judge.records import Judgement
from semalign_pl.judge.rubric import Rubric
from semalign_pl.messages.progress import Progress

Model = Endpoint | LocalModel


@dataclass(frozen=True)
class Verdicts:
    """Judgements of one judge, and what they took.

    Attributes:
        name: Name of the judge.
        judgements: Judgements: two per pair, A first and B first.
        refused: Messages of the server about questions that it refused.
        asked_again: Number of questions whose first answer had no verdict.
        cached: Number of answers from an earlier command.
        requests: Number of requests of this command.
        failed_requests: Number of requests that failed and were tried again.
        seconds: Sum of the times from question to answer, in seconds.
    """

    name: str
    judgements: list[Judgement]
    refused: list[str]
    asked_again: int
    cached: int
    requests: int
    failed_requests: int
    seconds: float


def ask_judges(judges: Sequence[Model], pairs: Sequence[Pair], rubric: Rubric, answers: Answers) -> list[Verdicts]:
    """Ask all judges at the same time.

    Args:
        judges: Judges.
        pairs: Pairs of answers.
        rubric: Prompts of the judges.
        answers: Cache of answers.

    Raises:
        ValueError: If a judge cannot be asked; answers so far are in the cache.
    """
    questions = questions_of(pairs, rubric)
    cached = 0
    for judge in judges:
        in_file = sum(answers.get(key_of(judge.identity, question)) is not None for question in questions)
        if in_file < len(questions):
            judge.prepare()
        cached += in_file

    async def ask(progress: Progress) -> list[list[Outcome]]:
        try:
            return await asyncio.gather(*(ask_all(judge, questions, answers, progress.add) for judge in judges))
        finally:
            for judge in judges:
                await judge.close()

    with Progress(len(judges) * len(questions), cached, "answers") as progress:
        outcomes = run_interruptible(ask(progress))
    return [
        Verdicts(
            name=judge.name,
            judgements=judgements_of(judge.name, rubric, pairs, questions, of_judge),
            refused=[outcome.refused for outcome in of_judge if outcome.refused],
            asked_again=sum(outcome.reply.tries > 1 for outcome in of_judge),
            cached=sum(outcome.cached for outcome in of_judge),
            requests=judge.requests,
            failed_requests=judge.failures,
            seconds=sum(outcome.reply.seconds for outcome in of_judge),
        )
        for judge, of_judge in zip(judges, outcomes, strict=True)
    ]
