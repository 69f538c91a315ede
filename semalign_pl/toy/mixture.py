"""What the base model is trained on: Chinese, reading comprehension in Chinese, Tibetan; never a pair of the two."""

from __future__ import annotations

import random
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from semalign_pl.toy import generator, grammar, prompt, reading
from semalign_pl.toy.tokenizer import END, PAD, START, token_id

QUESTIONS = 6


@dataclass(frozen=True)
class Sequence:
    """Token ids, and for each whether it belongs to an answer of reading comprehension."""

    ids: list[int]
    answer: list[bool]


def reading_turns(rng: random.Random, sentences: int) -> list[tuple[str, str]]:
    """One passage as (question, answer) turns; the first turn is exactly what the probe asks."""
    item = reading.passage(rng, generator.CHINESE_FOLDS, sentences, QUESTIONS)
    asked = [
        prompt.NEXT_QUESTION.format(question=q) if turn else prompt.PROMPT.format(context=item.context, question=q)
        for turn, (q, _) in enumerate(item.questions)
    ]
    return list(zip(asked, (answer for _, answer in item.questions), strict=True))


def plain(rng: random.Random) -> str | list[tuple[str, str]]:
    """A text in one language, or a chat turn whose answer is one Tibetan sentence."""
    kind = rng.random()
    if kind < 0.3:
        return generator.chinese_text(rng, generator.CHINESE_FOLDS)
    if kind < 0.75:
        return generator.tibetan_text(rng, generator.TIBETAN_FOLDS)
    return [(prompt.WRITE_TIBETAN, generator.tibetan_text(rng, generator.TIBETAN_FOLDS))]


def instructed(rng: random.Random) -> str | list[tuple[str, str]]:
    """As ``plain``, but half of it are instructions that say in which language to answer; each within one language."""
    if rng.random() < 0.5:
        return plain(rng)
    chinese = grammar.chinese(generator.draw(rng, generator.CHINESE_FOLDS))
    tibetan = grammar.tibetan(generator.draw(rng, generator.TIBETAN_FOLDS))
    turns = [
        (prompt.WRITE_CHINESE, chinese),
        (prompt.WRITE_TIBETAN, tibetan),
        (prompt.COPY.format(text=chinese), chinese),
        (prompt.COPY.format(text=tibetan), tibetan),
        (prompt.COPY_CHINESE.format(text=chinese), chinese),
        (prompt.COPY_TIBETAN.format(text=tibetan), tibetan),
    ]
    return [rng.choice(turns)]


def encode(tokenizer: PreTrainedTokenizerFast, item: str | list[tuple[str, str]]) -> Sequence:
    """Token ids of a text or of chat turns, every answer and text closed by its end token."""
    start, end, pad = (token_id(tokenizer, token) for token in (START, END, PAD))
    if isinstance(item, str):
        ids = [*tokenizer(item).input_ids, pad]
        return Sequence(ids, [False] * len(ids))
    break_, user, assistant = (tokenizer(text).input_ids for text in ("\n", "user\n", "assistant\n"))
    ids, answer = [], []
    for question, reply in item:
        asked = [start, *user, *tokenizer(question).input_ids, end, *break_, start, *assistant]
        said = [*tokenizer(reply).input_ids, end]
        ids += [*asked, *said, *break_]
        answer += [False] * len(asked) + [True] * len(said) + [False] * len(break_)
    return Sequence(ids, answer)
