"""Grammar of both languages: from one meaning to a Chinese SVO sentence and a Tibetan SOV sentence."""

from __future__ import annotations

from dataclasses import dataclass, replace

from semalign_pl.toy import sandhi
from semalign_pl.toy.lexicon import Word, words

SLOTS = ("time", "subject", "place", "verb", "object", "modifier")


@dataclass(frozen=True)
class Meaning:
    """Meaning of a sentence. Words are given by their Chinese form; a slot without a word is ``""``.

    Attributes:
        kind: Category of the subject: name, person, kin or animal.
        subject: Subject.
        verb: Verb.
        object: Object.
        object_class: Noun class of the object that the verb requires.
        modifier: Adjective or number with the object.
        place: Place of the event, or the goal of a verb of motion.
        time: Time of the event, which determines the tense (without it: past).
        owner: Name of the person whose kin the subject is.
    """

    kind: str
    subject: str
    verb: str
    object: str = ""
    object_class: str = ""
    modifier: str = ""
    place: str = ""
    time: str = ""
    owner: str = ""

    @property
    def tense(self) -> str:
        """Tense of the sentence: past, habit, now or future."""
        return words("time")[self.time].tense if self.time else "past"

    def key(self) -> str:
        """String that identifies the meaning, the same in every process; the noun's class is not part of it."""
        return "|".join([self.time, self.owner, self.subject, self.place, self.verb, self.object, self.modifier])


def shared_slots(one: Meaning, other: Meaning) -> tuple[int, int]:
    """Number of ``SLOTS`` that are filled and equal in two meanings, and number of those filled in either."""
    pairs = list(zip(_contents(one), _contents(other), strict=True))
    return sum(a == b for a, b in pairs if a or b), sum(bool(a or b) for a, b in pairs)


def _contents(meaning: Meaning) -> tuple[str, ...]:
    subject = meaning.owner + meaning.subject
    return meaning.time, subject, meaning.place, meaning.verb, meaning.object, meaning.modifier


def _modifier(meaning: Meaning) -> Word | None:
    both = words("number") | words("adjective")
    return both[meaning.modifier] if meaning.modifier else None


def zh_subject(meaning: Meaning) -> str:
    """Subject in Chinese."""
    return f"{meaning.owner}的{meaning.subject}" if meaning.owner else meaning.subject


def zh_place(meaning: Meaning) -> str:
    """Place in Chinese, with 上 or 里; a goal has no 里."""
    place = words("place")[meaning.place]
    goal = words("verb")[meaning.verb].frame == "move"
    return place.zh if goal and place.counter == "里" else place.zh + place.counter


def zh_object(meaning: Meaning) -> str:
    """Object in Chinese, with its number and measure word or its adjective."""
    modifier = _modifier(meaning)
    counter = words("noun")[meaning.object].counter if modifier and modifier.category == "number" else ""
    return f"{meaning.modifier}{counter}{meaning.object}"


def zh_clause(time: str, subject: str, place: str, meaning: Meaning, obj: str) -> str:
    """Chinese clause of given phrases, without a full stop.

    Args:
        time: Phrase of the time.
        subject: Phrase of the subject.
        place: Phrase of the place.
        meaning: Meaning, for the verb and its tense.
        obj: Phrase of the object.
    """
    verb = words("verb")[meaning.verb]
    will = "要" if meaning.tense == "future" else ""
    done = verb.zh_past if meaning.tense == "past" else verb.zh
    if verb.frame == "move":
        return f"{time}{subject}{will}{done}{place}"
    return f"{time}{subject}{will}{'在' + place if place else ''}{done}{obj}"


def chinese(meaning: Meaning) -> str:
    """Chinese sentence of a meaning."""
    place = zh_place(meaning) if meaning.place else ""
    obj = zh_object(meaning) if meaning.object else ""
    return zh_clause(meaning.time, zh_subject(meaning), place, meaning, obj) + "。"


def _bo_subject(meaning: Meaning) -> str:
    subject = words(meaning.kind)[meaning.subject].bo
    owner = sandhi.genitive(words("name")[meaning.owner].bo) + sandhi.TSHEG if meaning.owner else ""
    bare = words("verb")[meaning.verb].frame in ("abs", "move")
    return owner + (subject if bare else sandhi.ergative(subject))


def _bo_object(meaning: Meaning) -> str:
    modifier = _modifier(meaning)
    phrase = words("noun")[meaning.object].bo + (sandhi.TSHEG + modifier.bo if modifier else "")
    return sandhi.dative(phrase) if words("verb")[meaning.verb].frame == "dat" else phrase


def _bo_verb(meaning: Meaning) -> str:
    verb = words("verb")[meaning.verb]
    if meaning.tense == "past":
        return f"{sandhi.nominal(verb.past)}་རེད"
    if meaning.tense == "now":
        return f"{verb.bo}་བཞིན་ཡོད"
    return f"{sandhi.connective(verb.bo)}་{'ཡོད་པ་' if meaning.tense == 'habit' else ''}རེད"


def _bo_phrases(meaning: Meaning) -> dict[str, str]:
    """Tibetan phrases before the verb, in their usual order."""
    phrases = {"time": words("time")[meaning.time].bo} if meaning.time else {}
    phrases["subject"] = _bo_subject(meaning)
    if meaning.place:
        place = words("place")[meaning.place].bo
        goal = words("verb")[meaning.verb].frame == "move"
        phrases["place"] = sandhi.ladon(place) if goal else sandhi.source(place)
    if meaning.object:
        phrases["object"] = _bo_object(meaning)
    return phrases


def tibetan(meaning: Meaning) -> str:
    """Tibetan sentence of a meaning."""
    return sandhi.shad(sandhi.TSHEG.join([*_bo_phrases(meaning).values(), _bo_verb(meaning)]))


def tibetan_reordered(meaning: Meaning) -> str:
    """Tibetan sentence with the subject first and the object before the place, an order that Tibetan allows."""
    phrases = _bo_phrases(meaning)
    order = [phrases[slot] for slot in ("subject", "time", "object", "place") if slot in phrases]
    return sandhi.shad(sandhi.TSHEG.join([*order, _bo_verb(meaning)]))


def headline_meaning(meaning: Meaning) -> Meaning:
    """Meaning of an event's headline: without the time and the object's modifier."""
    return replace(meaning, time="", modifier="")


def tibetan_headline(meaning: Meaning) -> str:
    """Tibetan headline of an event: a nominalised clause."""
    event = headline_meaning(meaning)
    clause = [*_bo_phrases(event).values(), sandhi.nominal(words("verb")[event.verb].past)]
    return sandhi.shad(sandhi.TSHEG.join(clause))
