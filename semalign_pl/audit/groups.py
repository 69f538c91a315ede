"""Texts of one row that the audit compares: its reference, drafts of two qualities, and what spoils each of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from semalign_pl.audit.spoilers import MIN_UNITS, SPOILERS, cut, draft, spoil
from semalign_pl.languages.language import Language
from semalign_pl.types import Example

LEVELS = (0.0, 0.25, 0.5)
"""Shares of damaged words. 0 is the reference itself, which a reward that compares with the reference always prefers. A
policy before RL writes drafts: the miniature world's cold start has chrF 50, between the drafts of 0.25 (64) and 0.5
(37). Beyond 0.5 most words are wrong, so that a spoiler such as stopping early removes more faults than it makes."""
DRAFTS = ("a", "b")
"""Two independent drafts of each share: their rewards differ by luck, and not by quality."""

Slot = tuple[str, float]
"""Name of a text in its group (``a``, ``b`` or a spoiler), and the share of damaged words of its draft."""


@dataclass(frozen=True)
class Group:
    """Texts of one row.

    Attributes:
        example: Row of the corpus.
        texts: Text of each slot; a spoiler that does not apply is left out.
    """

    example: Example
    texts: dict[Slot, str]


def slots() -> list[Slot]:
    """All slots of a group, in order."""
    return [(name, level) for level in LEVELS for name in (*(DRAFTS if level else DRAFTS[:1]), *SPOILERS)]


def make_group(example: Example, other: str, language: Language, seed: int) -> Group:
    """Make the texts of one row; the same for the same row and seed.

    Args:
        example: Row with a reference of at least ``MIN_UNITS`` words.
        other: Reference of another row.
        language: Language of the references.
        seed: Seed of the audit.
    """
    texts: dict[Slot, str] = {}
    for level in LEVELS:
        for name in DRAFTS if level else DRAFTS[:1]:
            rng = random.Random(f"{seed} {example.id} {name} {level}")
            texts[name, level] = draft(rng, example.reference, other, level, language) if level else example.reference
        for name in SPOILERS:
            rng = random.Random(f"{seed} {example.id} {name} {level}")
            spoiled = spoil(rng, name, texts[DRAFTS[0], level], example.source, other, language)
            if spoiled is not None:
                texts[name, level] = spoiled
    return Group(example, texts)


def make_groups(rows: Sequence[tuple[Example, Language]], seed: int, count: int) -> list[Group]:
    """Groups of at most ``count`` rows, drawn by seed, whose references have at least ``MIN_UNITS`` words.

    Args:
        rows: Rows, each with the language of its reference.
        seed: Seed of the draw and of the texts.
        count: Maximum number of groups.
    """
    drawn: list[tuple[Example, Language]] = []
    for row in random.Random(f"audit {seed}").sample(range(len(rows)), len(rows)):
        example, language = rows[row]
        if len(cut(example.reference, language).words) >= MIN_UNITS:
            drawn.append((example, language))
        if len(drawn) == count:
            break
    others = [_other(drawn, place) for place in range(len(drawn))]
    return [
        make_group(example, other, language, seed) for (example, language), other in zip(drawn, others, strict=True)
    ]


def _other(rows: Sequence[tuple[Example, Language]], place: int) -> str:
    """Reference of the next row in the same language that differs; empty if there is none."""
    example, language = rows[place]
    following = [*rows[place + 1 :], *rows[:place]]
    return next((e.reference for e, of in following if of == language and e.reference != example.reference), "")
