"""The words of the world, read from ``lexicon.tsv``, and who does what where, read from ``world.tsv``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Word:
    """One entry; which of the last fields are filled depends on the category.

    Attributes:
        category: name, person, kin, animal, place, noun, verb, time, adjective or number.
        zh: Chinese, without particles.
        bo: Tibetan, no tsheg at the end; for verbs the present stem.
        role: What a name, person, kin or animal does all day (a row of ``world.tsv``).
        classes: A noun's classes, or the classes an adjective goes with.
        counter: A noun's Chinese measure word, or a place's 里 / 上.
        past: A verb's Tibetan past stem.
        frame: erg (ergative subject), dat (and its object takes ལ), abs (bare subject), move (the place is a goal).
        zh_past: A verb's Chinese with 了.
        tense: A time word's tense: past, habit, now or future.
    """

    category: str
    zh: str
    bo: str
    role: str = ""
    classes: tuple[str, ...] = ()
    counter: str = ""
    past: str = ""
    frame: str = ""
    zh_past: str = ""
    tense: str = ""


@dataclass(frozen=True)
class Activity:
    """Something a role does: a verb, the class of its object (or ``""``), and the places where."""

    verb: str
    object_class: str
    places: tuple[str, ...]


def _rows(name: str) -> list[list[str]]:
    lines = (_HERE / name).read_text(encoding="utf-8").splitlines()
    return [[*line.split("\t"), "", "", ""] for line in lines if line and not line.startswith("#")]


def _word(row: list[str]) -> Word:
    category, zh, bo, extra, more, last = row[:6]
    if category == "verb":
        return Word(category, zh, bo, past=extra, frame=more, zh_past=last or zh + "了")
    if category == "time":
        return Word(category, zh, bo, tense=extra)
    if category == "place":
        return Word(category, zh, bo, counter=extra)
    if category in ("noun", "adjective"):
        return Word(category, zh, bo, classes=tuple(extra.split(",")), counter=more)
    return Word(category, zh, bo, role=extra)


@cache
def words(category: str) -> dict[str, Word]:
    """The words of a category by their Chinese form, in the file's order."""
    found = (_word(row) for row in _rows("lexicon.tsv") if row[0] == category)
    return {word.zh: word for word in found}


@cache
def activities(role: str) -> tuple[Activity, ...]:
    """What a role does."""
    return tuple(Activity(r[1], r[2], tuple(r[3].split(","))) for r in _rows("world.tsv") if r[0] == role)


@cache
def objects(object_class: str) -> tuple[Word, ...]:
    """The nouns of a class."""
    return tuple(word for word in words("noun").values() if object_class in word.classes)


@cache
def modifiers(noun: str, object_class: str) -> tuple[Word, ...]:
    """Adjectives and numbers that go with a noun when it stands for ``object_class``."""
    fitting = tuple(word for word in words("adjective").values() if object_class in word.classes)
    return fitting + (tuple(words("number").values()) if words("noun")[noun].counter else ())


@cache
def subjects() -> tuple[tuple[str, str], ...]:
    """All (category, word) that can do something, names first."""
    return tuple((c, zh) for c in ("name", "person", "kin", "animal") for zh in words(c))


@cache
def object_verbs() -> tuple[str, ...]:
    """The verbs that take an object."""
    roles = {word.role for category in ("name", "person", "kin", "animal") for word in words(category).values()}
    return tuple(sorted({a.verb for role in roles for a in activities(role) if a.object_class}))
