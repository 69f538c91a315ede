"""Random meanings of the toy world, and corpora of them: pairs, articles with headlines, texts in one language."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice

from semalign_pl.messages.progress import Progress
from semalign_pl.toy import grammar
from semalign_pl.toy.grammar import Meaning
from semalign_pl.toy.lexicon import activities, modifiers, object_verbs, objects, subjects, words
from semalign_pl.toy.speech import TIBETAN, Speech

SPLITS = {"train": range(8), "dev": range(8, 9), "test": range(9, 10)}
CHINESE_FOLDS = (0, 2, 4, 6)
TIBETAN_FOLDS = (1, 3, 5, 7)
PATIENCE = 50_000
"""Number of draws without a new meaning after which there are held to be no more."""


def fold(meaning: Meaning) -> int:
    """Fold of a meaning, 0 to 9. It is a hash of the meaning, so splits are disjoint for all seeds."""
    return hashlib.sha1(meaning.key().encode()).digest()[0] * 10 // 256


def _subject(rng: random.Random) -> tuple[str, str, str]:
    """Draw a subject: kind, word and owner."""
    kind, subject = rng.choice(subjects())
    return kind, subject, rng.choice(list(words("name"))) if kind == "kin" else ""


def _event(rng: random.Random, kind: str, subject: str, owner: str, times: list[str]) -> Meaning:
    """Draw an activity of a subject, at one of ``times``."""
    activity = rng.choice(activities(words(kind)[subject].role))
    obj = rng.choice(objects(activity.object_class)).zh if activity.object_class else ""
    fitting = modifiers(obj, activity.object_class) if obj and rng.random() < 0.5 else ()
    return Meaning(
        kind,
        subject,
        activity.verb,
        obj,
        activity.object_class,
        rng.choice(fitting).zh if fitting else "",
        rng.choice(activity.places) if activity.verb == "去" or rng.random() < 0.75 else "",
        rng.choice(times),
        owner,
    )


def draw(rng: random.Random, folds: range | tuple[int, ...]) -> Meaning:
    """Draw a meaning whose fold is one of ``folds``."""
    times = [*words("time"), "", "", "", "", ""]
    while True:
        meaning = _event(rng, *_subject(rng), times)
        if fold(meaning) in folds:
            return meaning


def draw_day(rng: random.Random, folds: range | tuple[int, ...], length: int) -> list[Meaning]:
    """Draw different activities of one subject in one tense; the first has a time and a place.

    Args:
        rng: Random numbers.
        folds: Folds of the meanings.
        length: Maximum number of activities.
    """
    who = _subject(rng)
    tense = rng.choice(["past", "past", "habit", "future"])
    times = [time for time, word in words("time").items() if word.tense == tense]
    first = _event(rng, *who, times)
    while not first.place or fold(first) not in folds:
        first = _event(rng, *who, times)
    day = [first]
    for _ in range(200):
        event = _event(rng, *who, times)
        fresh = all((event.verb, event.object) != (m.verb, m.object) for m in day)
        if len(day) < length and fresh and fold(event) in folds:
            day.append(event)
    return day


def unique(
    rng: random.Random,
    folds: range | tuple[int, ...],
    speech: Speech = TIBETAN,
    inside: Callable[[Meaning], bool] = lambda meaning: True,
) -> Iterator[Meaning]:
    """Yield meanings until there are no new ones; no two have the same text in Chinese or in the second language.

    Args:
        rng: Random numbers.
        folds: Folds of the meanings.
        speech: Second language.
        inside: Function that returns false for meanings to leave out.
    """
    seen: set[str] = set()
    tried = 0
    while tried < PATIENCE:
        meaning = draw(rng, folds)
        tried += 1
        if not inside(meaning):
            continue
        texts = {grammar.chinese(meaning), speech.sentence(meaning)}
        if not texts & seen:
            seen |= texts
            tried = 0
            yield meaning


def first(drawn: Iterable[Meaning], size: int) -> list[Meaning]:
    """The first meanings, with progress on stderr.

    Args:
        drawn: Meanings.
        size: Number to take; fewer are returned if there are no more.
    """
    found = []
    with Progress(size, unit="sentences") as progress:
        for meaning in islice(drawn, size):
            found.append(meaning)
            progress.add(1)
    return found


def pairs(seed: int, split: str, size: int, speech: Speech = TIBETAN) -> list[dict[str, str]]:
    """Parallel sentences.

    Args:
        seed: Seed of the sentences.
        split: Split, a key of ``SPLITS``.
        size: Number of pairs.
        speech: Second language.

    Returns:
        Rows with the fields ``zh`` and the second language's code.
    """
    found = meanings(seed, split, size, speech)
    return [{"zh": grammar.chinese(meaning), speech.code: speech.sentence(meaning)} for meaning in found]


def meanings(seed: int, split: str, size: int, speech: Speech = TIBETAN) -> list[Meaning]:
    """Meanings of parallel sentences.

    Args:
        seed: Seed of the meanings.
        split: Split, a key of ``SPLITS``.
        size: Number of meanings.
        speech: Second language; no two meanings have the same text in it.
    """
    return first(unique(random.Random(f"pairs-{split}-{seed}"), SPLITS[split], speech), size)


def headlines(seed: int, split: str, size: int, speech: Speech = TIBETAN) -> list[dict[str, str]]:
    """Short articles about one subject, each with a headline about the first event.

    Args:
        seed: Seed of the articles.
        split: Split, a key of ``SPLITS``.
        size: Number of articles.
        speech: Language of articles and headlines.

    Returns:
        Rows with the fields ``article`` and ``headline``.
    """
    rng = random.Random(f"headlines-{split}-{seed}")
    found: dict[str, str] = {}
    while len(found) < size:
        day = draw_day(rng, SPLITS[split], rng.randint(3, 5))
        if len(day) >= 3:
            found.setdefault(" ".join(map(speech.sentence, day)), speech.headline(day[0]))
    return [{"article": article, "headline": headline} for article, headline in found.items()]


def chinese_text(rng: random.Random, folds: range | tuple[int, ...]) -> str:
    """Draw a Chinese text of 1 to 4 sentences."""
    return "".join(grammar.chinese(draw(rng, folds)) for _ in range(rng.randint(1, 4)))


def tibetan_text(rng: random.Random, folds: range | tuple[int, ...]) -> str:
    """Draw a Tibetan text: a sentence, or a short article."""
    return text(rng, folds, TIBETAN)


def text(rng: random.Random, folds: range | tuple[int, ...], speech: Speech) -> str:
    """Draw a text in the second language: a sentence, or a short article.

    Args:
        rng: Random numbers.
        folds: Folds of the meanings.
        speech: Second language.
    """
    if rng.random() < 0.5:
        return speech.sentence(draw(rng, folds))
    return " ".join(map(speech.sentence, draw_day(rng, folds, rng.randint(2, 4))))


def neighbour(rng: random.Random, meaning: Meaning) -> Meaning:
    """Change one slot of a meaning, mostly to something that is possible in the toy world."""
    options = [_other_subject(rng, meaning)]
    options.append(replace(meaning, time=rng.choice([time for time in words("time") if time != meaning.time])))
    if meaning.place:
        options.append(
            replace(meaning, place=rng.choice([place for place in words("place") if place != meaning.place]))
        )
    if meaning.object:
        options += _other_objects(rng, meaning)
        options.append(replace(meaning, verb=rng.choice([verb for verb in object_verbs() if verb != meaning.verb])))
    return rng.choice(options)


def _other_subject(rng: random.Random, meaning: Meaning) -> Meaning:
    role = words(meaning.kind)[meaning.subject].role
    others = [(kind, zh) for kind, zh in subjects() if kind != "kin" and zh != meaning.subject]
    likely = [(kind, zh) for kind, zh in others if words(kind)[zh].role == role]
    kind, zh = rng.choice(likely if likely and rng.random() < 0.5 else others)
    return replace(meaning, kind=kind, subject=zh, owner="")


def _other_objects(rng: random.Random, meaning: Meaning) -> list[Meaning]:
    kept = meaning.modifier if meaning.modifier in words("adjective") else ""
    nouns = [noun.zh for noun in objects(meaning.object_class) if noun.zh != meaning.object]
    fitting = [m.zh for m in modifiers(meaning.object, meaning.object_class) if m.zh != meaning.modifier]
    found = [replace(meaning, object=rng.choice(nouns), modifier=kept)] if nouns else []
    return found + ([replace(meaning, modifier=rng.choice(fitting))] if fitting else [])
