"""Words of the toy world, read from ``lexicon.tsv``, and activities and their places, read from ``world.tsv``."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Word:
    """Entry of the lexicon. The category decides which of the fields after ``bo`` are filled.

    Attributes:
        category: Category: name, person, kin, animal, place, noun, verb, time, adjective or number.
        zh: Chinese word, without particles.
        bo: Tibetan word, without a tsheg at the end; for verbs the present stem.
        role: Role of a name, person, kin or animal, which selects its activities in ``world.tsv``.
        classes: Classes of a noun, or of the nouns that an adjective modifies.
        counter: Chinese measure word of a noun, or 里 / 上 of a place.
        past: Tibetan past stem of a verb.
        frame: Case frame of a verb: erg (ergative subject), dat (ergative subject, object with ལ), abs (bare subject)
            or move (bare subject, the place is a goal).
        zh_past: Chinese form of a verb with 了.
        tense: Tense of a time word: past, habit, now or future.
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
    """Activity of a role.

    Attributes:
        verb: Verb, by its Chinese form.
        object_class: Noun class of the object, or ``""``.
        places: Places of the activity, by their Chinese form.
    """

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
    """Words of a category by their Chinese form, in the file's order."""
    found = (_word(row) for row in _rows("lexicon.tsv") if row[0] == category)
    return {word.zh: word for word in found}


@cache
def activities(role: str) -> tuple[Activity, ...]:
    """Activities of a role."""
    return tuple(Activity(r[1], r[2], tuple(r[3].split(","))) for r in _rows("world.tsv") if r[0] == role)


@cache
def objects(object_class: str) -> tuple[Word, ...]:
    """Nouns of a class."""
    return tuple(word for word in words("noun").values() if object_class in word.classes)


@cache
def modifiers(noun: str, object_class: str) -> tuple[Word, ...]:
    """Adjectives and numbers that can modify a noun of the class ``object_class``."""
    fitting = tuple(word for word in words("adjective").values() if object_class in word.classes)
    return fitting + (tuple(words("number").values()) if words("noun")[noun].counter else ())


@cache
def subjects() -> tuple[tuple[str, str], ...]:
    """Category and word of everything that can be a subject, names first."""
    return tuple((c, zh) for c in ("name", "person", "kin", "animal") for zh in words(c))


@cache
def object_verbs() -> tuple[str, ...]:
    """Verbs that take an object."""
    roles = {word.role for category in ("name", "person", "kin", "animal") for word in words(category).values()}
    return tuple(sorted({a.verb for role in roles for a in activities(role) if a.object_class}))
