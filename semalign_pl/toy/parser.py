"""Parser of the toy world's Tibetan: from a sentence of any style back to its meaning and style."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product

from semalign_pl.toy import sandhi, style
from semalign_pl.toy.grammar import Meaning
from semalign_pl.toy.lexicon import activities, subjects, words
from semalign_pl.toy.style import CHOICES, Style

MIXED = "mixed"
"""Value of ``Style.words`` of a sentence with both common words and synonyms."""
_Table = dict[tuple[str, ...], list[tuple[str, ...]]]
_Found = tuple[tuple[str, ...], list[str]]


@dataclass(frozen=True)
class Reading:
    """Meaning of a sentence, and its style.

    Attributes:
        meaning: Meaning; its ``object_class`` is not known, and ``""``.
        style: Style; a field that the sentence does not show is ``""``, and ``words`` can be ``mixed``.
    """

    meaning: Meaning
    style: Style


def parse(text: str) -> Reading | None:
    """Read a Tibetan sentence.

    Args:
        text: Sentence; white space at both ends is ignored.

    Returns:
        First reading of the sentence, or ``None`` if it is no sentence of the toy world.
    """
    return next(readings(text), None)


def style_of(text: str) -> Style | None:
    """Style of a sentence, or ``None`` if it is no sentence of the toy world."""
    reading = parse(text)
    return reading.style if reading else None


def readings(text: str) -> Iterator[Reading]:
    """Yield all readings of a sentence.

    Args:
        text: Sentence; white space at both ends is ignored.
    """
    text = text.strip()
    body = text.removesuffix(sandhi.SHAD).removesuffix(sandhi.TSHEG)
    if sandhi.shad(body) != text:
        return
    for time, rest in _optional("time", body.split(sandhi.TSHEG)):
        for owner, rest_owner in _optional("owner", rest):
            for subject, rest_subject in _phrase("subject", rest_owner):
                late = _optional("time", rest_subject) if not time else iter([((), rest_subject)])
                for after, rest_time in late:
                    order = "after_subject" if after else "first" if time else ""
                    yield from _predicates(time or after, owner, subject, order, rest_time)


def _predicates(
    time: tuple[str, ...], owner: tuple[str, ...], subject: tuple[str, ...], order: str, rest: list[str]
) -> Iterator[Reading]:
    """Yield the readings of what follows the time and the subject."""
    for slots in (("place", "object"), ("object", "place")):
        for first, rest_first in _optional(slots[0], rest):
            for second, rest_second in _optional(slots[1], rest_first):
                if slots[0] == "object" and not (first and second):
                    continue  # found by the first order
                place, obj = (first, second) if slots[0] == "place" else (second, first)
                shown = ("before_object" if slots[0] == "place" else "after_object") if first and second else ""
                for form in _table("verb").get(tuple(rest_second), ()):
                    if (reading := _reading(time, owner, subject, place, obj, form, order, shown)) is not None:
                        yield reading


def _reading(
    time: tuple[str, ...],
    owner: tuple[str, ...],
    subject: tuple[str, ...],
    place: tuple[str, ...],
    obj: tuple[str, ...],
    form: tuple[str, ...],
    order: str,
    shown: str,
) -> Reading | None:
    """Reading of phrases, or ``None`` if cases, tense or owner do not agree."""
    verb, register, tense, ending = form
    frame = words("verb")[verb].frame
    kind, name, case, subject_words = subject
    agree = (
        case == ("bare" if frame in ("abs", "move") else "erg")
        and (not place or (place[1] == "goal") == (frame == "move"))
        and (not obj or (obj[2] == "dat") == (frame == "dat"))
        and (words("time")[time[0]].tense if time else "past") == tense
        and bool(owner) == (kind == "kin")
        and not (kind == "animal" and register == "honorific")
        and _fits(verb, obj)
    )
    if not agree:
        return None
    used = {subject_words, *(phrase[-1] for phrase in (time, place) if phrase), *(obj[3:] if obj else ())} - {""}
    meaning = Meaning(
        kind,
        name,
        verb,
        object=obj[0] if obj else "",
        modifier=obj[1] if obj else "",
        place=place[0] if place else "",
        time=time[0] if time else "",
        owner=owner[0] if owner else "",
    )
    wording = "" if not used else used.pop() if len(used) == 1 else MIXED
    return Reading(meaning, Style("" if kind == "animal" else register, wording, order, shown, ending))


def _fits(verb: str, obj: tuple[str, ...]) -> bool:
    """Return false for the less likely of two verbs with the same stems: writing and painting."""
    twins = _twins()[words("verb")[verb].bo]
    if len(twins) == 1:
        return True
    classes = set(words("noun")[obj[0]].classes) if obj else set()
    likely = [twin for twin in twins if _object_classes()[twin] & classes]
    return verb == (likely or twins)[0]


@cache
def _twins() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for zh, verb in words("verb").items():
        found.setdefault(verb.bo, []).append(zh)
    return found


@cache
def _object_classes() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {zh: set() for zh in words("verb")}
    for role in {words(kind)[zh].role for kind, zh in subjects()}:
        for activity in activities(role):
            found[activity.verb].add(activity.object_class)
    return found


def _phrase(kind: str, rest: list[str]) -> Iterator[_Found]:
    """Yield entries whose syllables ``rest`` begins with, each with the syllables after it."""
    table = _table(kind)
    for length in range(1, min(len(rest), _longest(kind)) + 1):
        for entry in table.get(tuple(rest[:length]), ()):
            yield entry, rest[length:]


def _optional(kind: str, rest: list[str]) -> Iterator[_Found]:
    yield (), rest
    yield from _phrase(kind, rest)


@cache
def _longest(kind: str) -> int:
    return max(map(len, _table(kind)))


def _forms(category: str, zh: str) -> list[tuple[str, str]]:
    """Tibetan words of an entry, each with its value of ``Style.words``."""
    entry = words(category)[zh]
    if (category, zh) not in style.synonyms():
        return [(entry.bo, "")]
    return [(style.word(entry, choice), choice) for choice in CHOICES["words"]]


def _subjects() -> Iterator[tuple[str, tuple[str, ...]]]:
    for kind, zh in subjects():
        for form, wording in _forms(kind, zh):
            yield form, (kind, zh, "bare", wording)
            yield sandhi.ergative(form), (kind, zh, "erg", wording)


def _places() -> Iterator[tuple[str, tuple[str, ...]]]:
    for zh in words("place"):
        for form, wording in _forms("place", zh):
            yield sandhi.source(form), (zh, "source", wording)
            yield sandhi.ladon(form), (zh, "goal", wording)


def _objects() -> Iterator[tuple[str, tuple[str, ...]]]:
    modifiers = [("", "", "")] + [
        (zh, sandhi.TSHEG + form, wording)
        for category in ("number", "adjective")
        for zh in words(category)
        for form, wording in _forms(category, zh)
    ]
    nouns = [(zh, form, wording) for zh in words("noun") for form, wording in _forms("noun", zh)]
    for (zh, form, wording), (modifier, suffix, of_modifier) in product(nouns, modifiers):
        yield form + suffix, (zh, modifier, "bare", wording, of_modifier)
        yield sandhi.dative(form + suffix), (zh, modifier, "dat", wording, of_modifier)


def _verbs() -> Iterator[tuple[str, tuple[str, ...]]]:
    tenses = ("past", "habit", "now", "future")
    for form in product(words("verb"), CHOICES["register"], tenses, CHOICES["ending"]):
        yield style.verb_form(*form), form


_ENTRIES: dict[str, Callable[[], Iterator[tuple[str, tuple[str, ...]]]]] = {
    "time": lambda: ((form, (zh, wording)) for zh in words("time") for form, wording in _forms("time", zh)),
    "owner": lambda: ((sandhi.genitive(entry.bo), (zh,)) for zh, entry in words("name").items()),
    "subject": _subjects,
    "place": _places,
    "object": _objects,
    "verb": _verbs,
}


@cache
def _table(kind: str) -> _Table:
    found: _Table = {}
    for text, entry in _ENTRIES[kind]():
        found.setdefault(tuple(text.split(sandhi.TSHEG)), []).append(entry)
    return found
