"""Ask many questions: from the cache if possible, equal ones once, and once more after an answer without a verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from semalign_pl.judge.answers import Answers, key_of
from semalign_pl.judge.failures import RefusedQuestion
from semalign_pl.judge.question import JudgeModel, Question, Reply, read_option


@dataclass(frozen=True)
class Outcome:
    """Answer to one question, or the reason why there is none.

    Attributes:
        reply: Answer; its tokens and seconds are 0 if it belongs to an equal question that is counted already.
        option: Verdict; ``None`` if the answer has none.
        refused: Message of the server that refused the question; empty if it answered.
        cached: True if the answer was made by an earlier command.
    """

    reply: Reply
    option: str | None
    refused: str = ""
    cached: bool = False


async def ask_all(
    judge: JudgeModel, questions: Sequence[Question], answers: Answers, done: Callable[[int], None] = lambda count: None
) -> list[Outcome]:
    """Answer questions; every answer is in the file before the next one is waited for.

    Args:
        judge: JudgeModel to ask.
        questions: Questions.
        answers: Cache of answers.
        done: Function that is told the number of questions answered, as they are answered; cached ones are not told.

    Returns:
        An outcome per question.

    Raises:
        ValueError: If the judge cannot be asked at all; answers so far are in the cache.
    """
    keys = [key_of(judge.identity, question) for question in questions]
    places: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    outcomes: dict[str, Outcome] = {}

    async def answer(key: str, question: Question) -> None:
        reply = answers.get(key)
        if reply is not None:
            judge.answered = True
            outcomes[key] = Outcome(reply, read_option(reply, question), cached=True)
            return
        try:
            reply = await _ask(judge, question)
            answers.add(key, reply)
            outcomes[key] = Outcome(reply, read_option(reply, question))
        except RefusedQuestion as error:  # not in the cache, as the server may be mended
            outcomes[key] = Outcome(Reply("", complete=False), None, refused=str(error))
        done(len(places[key]))

    tasks = [asyncio.ensure_future(answer(key, questions[where[0]])) for key, where in places.items()]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    first = {where[0] for where in places.values()}
    return [outcomes[key] if place in first else _free(outcomes[key]) for place, key in enumerate(keys)]


async def _ask(judge: JudgeModel, question: Question) -> Reply:
    reply = await judge.ask(question)
    if read_option(reply, question) is not None:
        return reply
    second = await judge.ask(question.again())
    return replace(
        second,
        prompt_tokens=reply.prompt_tokens + second.prompt_tokens,
        completion_tokens=reply.completion_tokens + second.completion_tokens,
        seconds=reply.seconds + second.seconds,
        tries=2,
    )


def _free(outcome: Outcome) -> Outcome:
    return replace(outcome, reply=replace(outcome.reply, prompt_tokens=0, completion_tokens=0, seconds=0.0))
