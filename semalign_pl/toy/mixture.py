"""Training data of the base model: Chinese, Chinese reading comprehension, and Tibetan, but no translation pairs."""

from __future__ import annotations

import random
from dataclasses import dataclass

from transformers import PreTrainedTokenizerFast

from semalign_pl.toy import generator, grammar, prompt, reading
from semalign_pl.toy.speech import TIBETAN, Speech
from semalign_pl.toy.tokenizer import END, PAD, START, token_id

QUESTIONS = 6


@dataclass(frozen=True)
class Sequence:
    """Token sequence.

    Attributes:
        ids: Token ids.
        answer: Mask of the tokens of answers, same length.
    """

    ids: list[int]
    answer: list[bool]


def reading_turns(rng: random.Random, sentences: int) -> list[tuple[str, str]]:
    """Draw a passage as turns of question and answer; the first question has the prompt of the probe, word for word.

    Args:
        rng: Random numbers.
        sentences: Number of sentences of the passage.
    """
    item = reading.passage(rng, generator.CHINESE_FOLDS, sentences, QUESTIONS)
    asked = [
        prompt.NEXT_QUESTION.format(question=q) if turn else prompt.PROMPT.format(context=item.context, question=q)
        for turn, (q, _) in enumerate(item.questions)
    ]
    return list(zip(asked, (answer for _, answer in item.questions), strict=True))


def plain(rng: random.Random, speech: Speech = TIBETAN) -> str | list[tuple[str, str]]:
    """Draw a text in one language, or a chat turn with a Tibetan text as the answer.

    Args:
        rng: Random numbers.
        speech: Tibetan, in the plain style or in any.
    """
    kind = rng.random()
    if kind < 0.3:
        return generator.chinese_text(rng, generator.CHINESE_FOLDS)
    if kind < 0.75:
        return generator.text(rng, generator.TIBETAN_FOLDS, speech)
    return [(prompt.WRITE_TIBETAN, generator.text(rng, generator.TIBETAN_FOLDS, speech))]


def make_instruction(rng: random.Random, speech: Speech = TIBETAN) -> str | list[tuple[str, str]]:
    """Draw an instruction to write or copy a text, or with probability 0.5 an item of ``plain``.

    Most instructions name the language of the answer. None asks for a translation: a text to copy is in the language of
    the answer.

    Args:
        rng: Random numbers.
        speech: Tibetan, in the plain style or in any.
    """
    if rng.random() < 0.5:
        return plain(rng, speech)
    chinese = grammar.chinese(generator.draw(rng, generator.CHINESE_FOLDS))
    tibetan = speech.sentence(generator.draw(rng, generator.TIBETAN_FOLDS))
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
    """Tokenize a text or chat turns; each text and each answer ends with its end token.

    Args:
        tokenizer: Tokenizer of the base model.
        item: Text, or turns of question and answer.
    """
    start, end, pad = (token_id(tokenizer, token) for token in (START, END, PAD))
    if isinstance(item, str):
        ids = [*tokenizer(item).input_ids, pad]
        return Sequence(ids, [False] * len(ids))
    break_, user, assistant = (tokenizer(text).input_ids for text in ("\n", "user\n", "assistant\n"))
    ids, answer = [], []
    for question, reply in item:
        asked = [start, *user, *tokenizer(question).input_ids, end, *break_, start, *assistant]
        reply_ids = [*tokenizer(reply).input_ids, end]
        ids += [*asked, *reply_ids, *break_]
        answer += [False] * len(asked) + [True] * len(reply_ids) + [False] * len(break_)
    return Sequence(ids, answer)
