"""One meaning, two languages: a Chinese SVO sentence and a Tibetan SOV sentence."""

from __future__ import annotations

from dataclasses import dataclass, replace

from semalign_pl.toy import sandhi
from semalign_pl.toy.lexicon import Word, words

SLOTS = ("time", "subject", "place", "verb", "object", "modifier")


@dataclass(frozen=True)
class Meaning:
    """Who does what to what, where and when; words by their Chinese form, ``""`` where nothing is said.

    Attributes:
        kind: The subject's category: name, person, kin or animal.
        subject: The subject.
        verb: The verb.
        object: The object.
        object_class: The noun class under which the verb takes the object.
        modifier: An adjective or a number with the object.
        place: Where, or whither with a verb of motion.
        time: When; decides the tense (without it: past).
        owner: Whose kin the subject is (a name).
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
        """One of past, habit, now, future."""
        return words("time")[self.time].tense if self.time else "past"

    def key(self) -> str:
        """A string that is the same for the same meaning in every process (a noun's class is no part of it)."""
        return "|".join([self.time, self.owner, self.subject, self.place, self.verb, self.object, self.modifier])


def shared_slots(one: Meaning, other: Meaning) -> tuple[int, int]:
    """How many of ``SLOTS`` agree, and how many are filled in either meaning."""
    pairs = list(zip(_contents(one), _contents(other), strict=True))
    return sum(a == b for a, b in pairs if a or b), sum(bool(a or b) for a, b in pairs)


def _contents(meaning: Meaning) -> tuple[str, ...]:
    subject = meaning.owner + meaning.subject
    return meaning.time, subject, meaning.place, meaning.verb, meaning.object, meaning.modifier


def _modifier(meaning: Meaning) -> Word | None:
    both = words("number") | words("adjective")
    return both[meaning.modifier] if meaning.modifier else None


def zh_subject(meaning: Meaning) -> str:
    """The subject in Chinese."""
    return f"{meaning.owner}的{meaning.subject}" if meaning.owner else meaning.subject


def zh_place(meaning: Meaning) -> str:
    """The place in Chinese with 上 or 里; a goal goes without 里."""
    place = words("place")[meaning.place]
    goal = words("verb")[meaning.verb].frame == "move"
    return place.zh if goal and place.counter == "里" else place.zh + place.counter


def zh_object(meaning: Meaning) -> str:
    """The object in Chinese with its number and measure word, or its adjective."""
    modifier = _modifier(meaning)
    counter = words("noun")[meaning.object].counter if modifier and modifier.category == "number" else ""
    return f"{meaning.modifier}{counter}{meaning.object}"


def zh_clause(time: str, subject: str, place: str, meaning: Meaning, obj: str) -> str:
    """A Chinese clause of these phrases with the verb in the meaning's tense, no full stop."""
    verb = words("verb")[meaning.verb]
    will = "要" if meaning.tense == "future" else ""
    done = verb.zh_past if meaning.tense == "past" else verb.zh
    if verb.frame == "move":
        return f"{time}{subject}{will}{done}{place}"
    return f"{time}{subject}{will}{'在' + place if place else ''}{done}{obj}"


def chinese(meaning: Meaning) -> str:
    """The Chinese sentence."""
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
    """The phrases before the verb in their usual order."""
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
    """The Tibetan sentence."""
    return sandhi.shad(sandhi.TSHEG.join([*_bo_phrases(meaning).values(), _bo_verb(meaning)]))


def tibetan_reordered(meaning: Meaning) -> str:
    """The same sentence with the subject in front and the object before the place, as Tibetan allows."""
    phrases = _bo_phrases(meaning)
    order = [phrases[slot] for slot in ("subject", "time", "object", "place") if slot in phrases]
    return sandhi.shad(sandhi.TSHEG.join([*order, _bo_verb(meaning)]))


def headline_meaning(meaning: Meaning) -> Meaning:
    """What a headline keeps of an event: neither the time nor the object's attribute."""
    return replace(meaning, time="", modifier="")


def tibetan_headline(meaning: Meaning) -> str:
    """The event as a nominalised clause."""
    event = headline_meaning(meaning)
    clause = [*_bo_phrases(event).values(), sandhi.nominal(words("verb")[event.verb].past)]
    return sandhi.shad(sandhi.TSHEG.join(clause))
