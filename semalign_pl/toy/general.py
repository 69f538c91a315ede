"""General data beside the new language: replay, text for an anchor, and abilities that neither of the two touches.

Splits are disjoint by their meanings, as everywhere in the world: replay and anchor are of the training folds, probes
for validation of the dev fold, probes for the test of the test fold.
"""

from __future__ import annotations

import random

from semalign_pl.toy import generator, grammar, prompt, reading
from semalign_pl.toy.reading import Passage

UNTOUCHED = "什么时候"
"""Question word that replay leaves out: questions for a time are the ability that no general data touches."""


def replay(seed: int, split: str, size: int) -> list[dict[str, str]]:
    """Reading comprehension to mix into a training, without questions for a time.

    Args:
        seed: Seed of the passages.
        split: Split, a key of ``generator.SPLITS``.
        size: Number of questions.

    Returns:
        Rows with the fields ``context``, ``question`` and ``answer``; no two have the same context and question.
    """
    rng, rows = random.Random(f"replay-{split}-{seed}"), dict[tuple[str, str], str]()
    while len(rows) < size:
        item = reading.passage(rng, generator.SPLITS[split], rng.randint(1, 4), 2)
        rows |= {(item.context, q): answer for q, answer in item.questions if UNTOUCHED not in q}
    return [{"context": c, "question": q, "answer": answer} for (c, q), answer in list(rows.items())[:size]]


def anchor(seed: int, split: str, size: int) -> list[dict[str, object]]:
    """Texts and conversations for an anchor, a third of each kind, in random order.

    They are Chinese texts, reading comprehension without questions for a time, and instructions to write Chinese; none
    asks to copy.

    Args:
        seed: Seed of the rows.
        split: Split, a key of ``generator.SPLITS``.
        size: Number of rows.

    Returns:
        Rows with ``text`` or ``messages``.
    """
    texts = chinese(seed, split, 2 * size // 3)
    answered = replay(seed, split, size - len(texts))
    half = len(texts) // 2
    rows: list[dict[str, object]] = [{"text": text} for text in texts[:half]]
    rows += [_conversation(prompt.WRITE_CHINESE, text) for text in texts[half:]]
    rows += [_conversation(prompt.PROMPT.format(**row), row["answer"]) for row in answered]
    return random.Random(f"anchor-{split}-{seed}").sample(rows, len(rows))


def _conversation(asked: str, answer: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}


def time_questions(seed: int, split: str, size: int) -> dict[str, object]:
    """Questions for a time, one per context, in the format of CMRC 2018.

    Args:
        seed: Seed of the passages.
        split: Split, a key of ``generator.SPLITS``.
        size: Number of questions.
    """
    rng, found = random.Random(f"time-{split}-{seed}"), dict[str, Passage]()
    while len(found) < size:
        item = reading.passage(rng, generator.SPLITS[split], rng.randint(1, 4), 16)
        if asked := [qa for qa in item.questions if UNTOUCHED in qa[0]]:
            found.setdefault(item.context, Passage(item.context, (asked[0],)))
    return reading.squad(list(found.values()), f"TIME_{seed}")


def copying(seed: int, split: str, size: int) -> dict[str, object]:
    """Chinese sentences to copy, in the format of CMRC 2018: the answer is the context itself, the question is empty.

    Args:
        seed: Seed of the sentences.
        split: Split, a key of ``generator.SPLITS``.
        size: Number of sentences.
    """
    rng, texts = random.Random(f"copying-{split}-{seed}"), dict[str, None]()
    while len(texts) < size:
        texts[grammar.chinese(generator.draw(rng, generator.SPLITS[split]))] = None
    return reading.squad([Passage(text, (("", text),)) for text in texts], f"COPY_{seed}")


def chinese(seed: int, split: str, size: int) -> list[str]:
    """Different Chinese texts of 1 to 4 sentences.

    Args:
        seed: Seed of the texts.
        split: Split, a key of ``generator.SPLITS``.
        size: Number of texts.
    """
    rng, texts = random.Random(f"general-{split}-{seed}"), dict[str, None]()
    while len(texts) < size:
        texts[generator.chinese_text(rng, generator.SPLITS[split])] = None
    return list(texts)
