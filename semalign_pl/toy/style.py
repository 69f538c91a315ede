"""Styles of Tibetan: sentences that differ in register, words, order and ending, and have the same meaning."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

from semalign_pl.toy import sandhi
from semalign_pl.toy.grammar import Meaning
from semalign_pl.toy.lexicon import Word, words

CHOICES = {
    "register": ("plain", "honorific"),
    "words": ("common", "synonym"),
    "time": ("first", "after_subject"),
    "place": ("before_object", "after_object"),
    "ending": ("factual", "witnessed"),
}
"""Values of each field of a style; the first ones are those of ``grammar.tibetan``."""
AUXILIARY = "གནང"


@dataclass(frozen=True)
class Style:
    """Style of a Tibetan sentence. A field that a sentence does not show is ``""`` in the result of `shown_in`.

    Attributes:
        register: ``plain``, or ``honorific`` verbs; only people are honoured.
        words: ``common`` words, or each ``synonym`` of ``styles.tsv``.
        time: Time phrase ``first``, or ``after_subject``.
        place: Place phrase ``before_object`` or ``after_object``.
        ending: ``factual`` verb endings (རེད, ཡོད), or ``witnessed`` ones (སོང, འདུག; in the future རྒྱུ་རེད).
    """

    register: str = "plain"
    words: str = "common"
    time: str = "first"
    place: str = "before_object"
    ending: str = "factual"

    def shown_in(self, meaning: Meaning) -> Style:
        """Style without the fields that a sentence of this meaning cannot show."""
        found = [(meaning.kind, meaning.subject), ("time", meaning.time), ("place", meaning.place)]
        found += [("noun", meaning.object), ("adjective", meaning.modifier)]
        return replace(
            self,
            register="" if meaning.kind == "animal" else self.register,
            words=self.words if any(key in synonyms() for key in found) else "",
            time=self.time if meaning.time else "",
            place=self.place if meaning.place and meaning.object else "",
        )


PLAIN = Style()
STYLES = tuple(
    Style(*(CHOICES[field.name][number >> place & 1] for place, field in enumerate(fields(Style))))
    for number in range(2 ** len(CHOICES))
)
"""All styles, ``PLAIN`` first."""
NAMED = {
    "plain": PLAIN,
    **{values[1]: replace(PLAIN, **{field: values[1]}) for field, values in CHOICES.items()},
    "opposite": STYLES[-1],
}
"""Styles by name: the plain one, those that differ from it in one field, and the one that differs in all."""


def draw(rng: random.Random, narrow: float = 0.0) -> Style:
    """Draw a style.

    Args:
        rng: Random numbers.
        narrow: Probability of ``PLAIN``; otherwise all styles are equally probable.
    """
    return PLAIN if rng.random() < narrow else rng.choice(STYLES)


@cache
def _rows() -> tuple[list[str], ...]:
    lines = (Path(__file__).parent / "styles.tsv").read_text(encoding="utf-8").splitlines()
    return tuple(line.split("\t") for line in lines if line and not line.startswith("#"))


@cache
def synonyms() -> dict[tuple[str, str], str]:
    """Tibetan synonym by category and Chinese word."""
    return {(row[1], row[2]): row[3] for row in _rows() if row[0] == "synonym"}


@cache
def honorifics() -> dict[str, tuple[str, str]]:
    """Present and past stem of the honorific of every verb, by its Chinese form."""
    own = {row[1]: (row[2], row[3]) for row in _rows() if row[0] == "honorific"}
    return {
        zh: own.get(zh, (f"{verb.bo}{sandhi.TSHEG}{AUXILIARY}", f"{verb.past}{sandhi.TSHEG}{AUXILIARY}"))
        for zh, verb in words("verb").items()
    }


def word(entry: Word, choice: str) -> str:
    """Tibetan word of an entry of the lexicon.

    Args:
        entry: Entry of the lexicon.
        choice: ``common`` or ``synonym``; a word without a synonym is the same in both.
    """
    return synonyms().get((entry.category, entry.zh), entry.bo) if choice == "synonym" else entry.bo


def verb_form(zh: str, register: str, tense: str, ending: str) -> str:
    """Verb with its ending.

    Args:
        zh: Verb, by its Chinese form.
        register: ``plain`` or ``honorific``.
        tense: Tense: past, habit, now or future.
        ending: ``factual`` or ``witnessed``.
    """
    verb = words("verb")[zh]
    present, past = honorifics()[zh] if register == "honorific" else (verb.bo, verb.past)
    witnessed = ending == "witnessed"
    if tense == "past":
        return f"{past}་སོང" if witnessed else f"{sandhi.nominal(past)}་རེད"
    if tense == "now":
        return f"{present}་བཞིན་{'འདུག' if witnessed else 'ཡོད'}"
    if tense == "future":
        return f"{present}་རྒྱུ་རེད" if witnessed else f"{sandhi.connective(present)}་རེད"
    return f"{sandhi.connective(present)}་{'འདུག' if witnessed else 'ཡོད་པ་རེད'}"


def tibetan(meaning: Meaning, style: Style = PLAIN) -> str:
    """Tibetan sentence of a meaning in a style; in ``PLAIN`` the same as ``grammar.tibetan``.

    Args:
        meaning: Meaning of the sentence.
        style: Style of the sentence.
    """
    register = "plain" if meaning.kind == "animal" else style.register
    verb = words("verb")[meaning.verb]
    subject = word(words(meaning.kind)[meaning.subject], style.words)
    subject = subject if verb.frame in ("abs", "move") else sandhi.ergative(subject)
    if meaning.owner:
        subject = sandhi.genitive(words("name")[meaning.owner].bo) + sandhi.TSHEG + subject
    time = [word(words("time")[meaning.time], style.words)] if meaning.time else []
    inner = [_place(meaning, style), _object(meaning, style)]
    phrases = [*time, subject] if style.time == "first" else [subject, *time]
    phrases += [phrase for phrase in (inner if style.place == "before_object" else inner[::-1]) if phrase]
    return sandhi.shad(sandhi.TSHEG.join([*phrases, verb_form(meaning.verb, register, meaning.tense, style.ending)]))


def wordings(meaning: Meaning) -> dict[str, Style]:
    """All different Tibetan sentences of a meaning, each with its style, the plain one first.

    Args:
        meaning: Meaning of the sentences.
    """
    found: dict[str, Style] = {}
    for style in STYLES:
        found.setdefault(tibetan(meaning, style), style)
    return found


def _place(meaning: Meaning, style: Style) -> str:
    if not meaning.place:
        return ""
    place = word(words("place")[meaning.place], style.words)
    return sandhi.ladon(place) if words("verb")[meaning.verb].frame == "move" else sandhi.source(place)


def _object(meaning: Meaning, style: Style) -> str:
    if not meaning.object:
        return ""
    phrase = word(words("noun")[meaning.object], style.words)
    if meaning.modifier:
        modifier = (words("number") | words("adjective"))[meaning.modifier]
        phrase += sandhi.TSHEG + word(modifier, style.words)
    return sandhi.dative(phrase) if words("verb")[meaning.verb].frame == "dat" else phrase
