"""Reading comprehension over Chinese contexts, in the format of CMRC 2018."""

from __future__ import annotations

import random
from dataclasses import dataclass

from semalign_pl.toy import grammar
from semalign_pl.toy.generator import draw
from semalign_pl.toy.grammar import Meaning
from semalign_pl.toy.lexicon import words


@dataclass(frozen=True)
class Passage:
    """Context with questions.

    Attributes:
        context: Chinese context.
        questions: Questions and their answers; each answer occurs exactly once in the context.
    """

    context: str
    questions: tuple[tuple[str, str], ...]


def _clashes(one: Meaning, other: Meaning) -> bool:
    """Return true if a question about one sentence could be answered from the other."""
    same = (one.owner or one.subject) in (other.owner, other.subject) or one.subject == other.subject
    same |= one.verb == other.verb or one.time == other.time
    return same or bool(one.place and one.place == other.place)


def _ask(rng: random.Random, meaning: Meaning) -> list[tuple[str, str]]:
    """Questions about a sentence, one per slot that can be asked about, with their answers."""
    time = meaning.time if rng.random() < 0.5 else ""
    place = grammar.zh_place(meaning) if meaning.place else ""
    goal = words("verb")[meaning.verb].frame == "move"
    named_place = place if goal or rng.random() < 0.5 else ""
    subject, obj = grammar.zh_subject(meaning), grammar.zh_object(meaning) if meaning.object else ""
    asked = [(grammar.zh_clause(time, "谁", named_place, meaning, obj), subject)]
    if meaning.time:
        asked.append((grammar.zh_clause("", subject + "什么时候", named_place, meaning, obj), meaning.time))
    if place:
        asked.append((grammar.zh_clause(time, subject, "哪里", meaning, obj), place))
    if obj:
        asked.append((grammar.zh_clause(time, subject, named_place, meaning, "什么"), obj))
    return [(question + "？", answer) for question, answer in asked]


def passage(rng: random.Random, folds: range | tuple[int, ...], sentences: int, questions: int) -> Passage:
    """Draw a context with questions in random order.

    Args:
        rng: Random numbers.
        folds: Folds of the meanings.
        sentences: Number of sentences of the context.
        questions: Maximum number of questions.
    """
    while True:
        meanings: list[Meaning] = []
        while len(meanings) < sentences:
            meaning = draw(rng, folds)
            if not any(_clashes(meaning, other) for other in meanings):
                meanings.append(meaning)
        context = "".join(map(grammar.chinese, meanings))
        asked = [qa for meaning in meanings for qa in _ask(rng, meaning) if context.count(qa[1]) == 1]
        if asked:
            return Passage(context, tuple(rng.sample(asked, min(questions, len(asked)))))


def squad(passages: list[Passage], prefix: str) -> dict[str, object]:
    """Convert passages to the format of CMRC 2018 (SQuAD).

    Args:
        passages: Passages.
        prefix: Prefix of their ids.
    """
    data = []
    for index, item in enumerate(passages):
        name = f"{prefix}_{index}"
        qas = [
            {
                "id": f"{name}_q{number}",
                "question": question,
                "answers": [{"text": answer, "answer_start": item.context.index(answer)}],
            }
            for number, (question, answer) in enumerate(item.questions)
        ]
        data.append({"paragraphs": [{"id": name, "context": item.context, "qas": qas}]})
    return {"version": "toy-1", "data": data}


def reading_comprehension(seed: int, folds: range | tuple[int, ...], questions: int) -> dict[str, object]:
    """Reading comprehension data in the format of CMRC 2018.

    A context has one to four sentences, and up to two questions.

    Args:
        seed: Seed of the passages.
        folds: Folds of the meanings.
        questions: Number of questions in total.
    """
    rng = random.Random(f"reading-{seed}")
    found: dict[str, Passage] = {}
    while sum(len(item.questions) for item in found.values()) < questions:
        left = questions - sum(len(item.questions) for item in found.values())
        item = passage(rng, folds, rng.randint(1, 4), min(2, left))
        found.setdefault(item.context, item)
    return squad(list(found.values()), f"TOY_{seed}")
