"""Conditions of a training corpus: its size, the style of its references, wrong references, and its domain."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from semalign_pl.toy import generator, grammar
from semalign_pl.toy.grammar import Meaning
from semalign_pl.toy.lexicon import subjects, words
from semalign_pl.toy.speech import TIBETAN, Speech
from semalign_pl.toy.style import draw, tibetan

KINDS: tuple[str, ...] = ("another_sentence", "dropped_slot", "copied_source")
"""Kinds of wrong references, equally probable."""
DROPPABLE = ("time", "place", "modifier", "object")


@dataclass(frozen=True)
class Conditions:
    """Conditions of a training corpus; the defaults are those of the shipped world.

    Corpora are nested: those of fewer pairs, less noise or a smaller breadth are part of those of more, row by row, and
    a reference that is narrow at one ``style`` is narrow at each larger one.

    Attributes:
        pairs: Number of training pairs.
        source_only: Number of source sentences without a reference.
        target_only: Number of sentences in the second language without a source, in any style.
        style: Probability that a training reference has the one narrow style, that of ``grammar.tibetan``; all other
            Tibetan has any style. ``None`` for a world with this style only.
        noise: Probability that a training reference is wrong.
        breadth: Share of the roles (herder, teacher, …) that training pairs are about. Each role has its own subjects,
            activities and places. Dev and test pairs and sentences without a pair are about all roles.
    """

    pairs: int = 5000
    source_only: int = 2000
    target_only: int = 0
    style: float | None = None
    noise: float = 0.0
    breadth: float = 1.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: If a value is out of its range.
        """
        for name, size, least in (
            ("pairs", self.pairs, 1),
            ("source-only", self.source_only, 0),
            ("target-only", self.target_only, 0),
        ):
            if size < least:
                raise ValueError(f"--{name} {size}: give {least} or more")
        for name, share in (("style", self.style), ("noise", self.noise)):
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"--{name} {share}: give a probability from 0 to 1")
        if not 0 < self.breadth <= 1:
            raise ValueError(f"--breadth {self.breadth}: give a share above 0, up to 1")


SHIPPED = Conditions()
"""Conditions of the shipped world."""


def style_speech(seed: int | str, narrow: float) -> Speech:
    """Tibetan whose sentences have the narrow style, or any of all styles. Headlines are not styled.

    The style of a sentence depends on seed and meaning only.

    Args:
        seed: Seed of the styles.
        narrow: Probability of the narrow style, 0 to 1; otherwise all styles are equally probable.
    """

    def sentence(meaning: Meaning) -> str:
        return tibetan(meaning, draw(random.Random(f"style-{seed}-{meaning.key()}"), narrow))

    return Speech(TIBETAN.code, TIBETAN.name, sentence, TIBETAN.headline)


def domain(seed: int, breadth: float) -> Callable[[Meaning], bool]:
    """Function that returns true for meanings of the training domain.

    Args:
        seed: Seed of the domain.
        breadth: Share of the roles (herder, teacher, …) that are in it; a smaller domain is part of each larger one.
    """
    roles = sorted({words(kind)[subject].role for kind, subject in subjects()})
    chosen = set(random.Random(f"breadth-{seed}").sample(roles, len(roles))[: math.ceil(breadth * len(roles))])
    return lambda meaning: words(meaning.kind)[meaning.subject].role in chosen


def training_meanings(seed: int, conditions: Conditions, speech: Speech) -> list[Meaning]:
    """Meanings of the training pairs.

    Args:
        seed: Seed of the sentences.
        conditions: Conditions of the corpus.
        speech: Second language; no two meanings have the same text in it.

    Raises:
        ValueError: If the domain has fewer meanings than there are pairs.
    """
    inside = domain(seed, conditions.breadth)
    rng = random.Random(f"pairs-train-{seed}")
    found = generator.first(generator.unique(rng, generator.SPLITS["train"], speech, inside), conditions.pairs)
    if len(found) < conditions.pairs:
        raise ValueError(
            f"--pairs {conditions.pairs}: with --breadth {conditions.breadth} and this seed there are only "
            f"{len(found)} different sentences; give fewer pairs, or a larger breadth"
        )
    return found


def training_pairs(
    meanings: Sequence[Meaning], speech: Speech, seed: int, noise: float
) -> tuple[list[dict[str, str]], dict[str, int]]:
    """Training pairs, some of them with a wrong reference.

    Args:
        meanings: Meanings of the pairs.
        speech: Second language.
        seed: Seed of the noise.
        noise: Probability that a reference is wrong.

    Returns:
        Rows with the fields ``zh`` and the second language's code, and the number of wrong references of each kind.
    """
    rows, counts = [], dict.fromkeys(KINDS, 0)
    for index, meaning in enumerate(meanings):
        text = speech.sentence(meaning)
        rng = random.Random(f"noise-{seed}-{index}")
        if rng.random() < noise:
            kind, text = _wrong(rng, meanings[: index + 1], speech)
            counts[kind] += 1
        rows.append({"zh": grammar.chinese(meaning), speech.code: text})
    return rows, counts


def _wrong(rng: random.Random, meanings: Sequence[Meaning], speech: Speech) -> tuple[str, str]:
    """Kind and text of a wrong reference of the last meaning; another sentence is that of an earlier meaning."""
    meaning, kind = meanings[-1], rng.choice(KINDS)
    slots = [slot for slot in DROPPABLE if getattr(meaning, slot) and not (slot == "place" and meaning.verb == "去")]
    if kind == "dropped_slot" and not slots:
        kind = "another_sentence"
    if kind == "another_sentence" and len(meanings) == 1:
        kind = "copied_source"
    if kind == "another_sentence":
        return kind, speech.sentence(rng.choice(meanings[:-1]))
    if kind == "copied_source":
        return kind, grammar.chinese(meaning)
    slot = rng.choice(slots)
    also = {"object_class": "", "modifier": ""} if slot == "object" else {}
    return kind, speech.sentence(replace(meaning, **{slot: "", **also}))
