"""Second language of the toy world: Tibetan by its own grammar, any other by the words and templates of two files."""

from __future__ import annotations

import string
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semalign_pl.files.documents import read_yaml
from semalign_pl.toy import grammar
from semalign_pl.toy.grammar import Meaning
from semalign_pl.toy.lexicon import words

FOLDER = Path(__file__).parent / "languages"
CATEGORIES = ("name", "person", "kin", "animal", "place", "noun", "verb", "time", "adjective", "number")
_SENTENCE = ("time", "subject", "verb", "object", "place")
_PHRASES = {
    "time": ("time",),
    "subject": ("subject",),
    "owned": ("subject", "owner"),
    "object": ("object",),
    "described": ("object", "adjective"),
    "counted": ("object", "number", "classifier"),
    "at": ("place", "preposition"),
    "to": ("place",),
}


@dataclass(frozen=True)
class Speech:
    """Language, as functions from meanings to texts.

    Attributes:
        code: Code of the language, and name of the field of its texts.
        name: Name of the file of its texts, without ``.txt``.
        sentence: Function that returns the sentence of a meaning.
        headline: Function that returns the headline of an event.
    """

    code: str
    name: str
    sentence: Callable[[Meaning], str]
    headline: Callable[[Meaning], str]


TIBETAN = Speech("bo", "tibetan", grammar.tibetan, grammar.tibetan_headline)


def speech(language: str) -> Speech:
    """Load a language.

    Args:
        language: Code of the language, or path of a ``.yaml`` file, with a ``.tsv`` file of the same name next to it.

    Raises:
        ValueError: If there is no such language, or its files are incomplete.
    """
    if language == TIBETAN.code:
        return TIBETAN
    path = Path(language) if language.endswith(".yaml") else FOLDER / f"{language}.yaml"
    for file in (path, path.with_suffix(".tsv")):
        if not file.is_file():
            known = ", ".join(sorted([TIBETAN.code, *(found.stem for found in FOLDER.glob("*.yaml"))]))
            raise ValueError(f"--language {language}: no file {file}; use one of {known}, or a .yaml of your own")
    made = _Templates(path)
    return Speech(made.code, made.name, made.sentence, made.headline)


class _Templates:
    """Language without inflection: words are filled into templates."""

    def __init__(self, path: Path) -> None:
        given: dict[str, Any] = read_yaml(path)
        tenses = dict.fromkeys(("past", "habit", "now", "future"), _SENTENCE)
        for key, fields in [("code", ()), ("name", ()), ("headline", _SENTENCE), *_PHRASES.items()]:
            _check(f"{path}: {key}", given.get(key), fields)
        for tense, fields in tenses.items():
            _check(f"{path}: sentence.{tense}", (given.get("sentence") or {}).get(tense), fields)
        self.code, self.name = given["code"], given["name"]
        self._templates = given
        self._words = _read(path.with_suffix(".tsv"))

    def sentence(self, meaning: Meaning) -> str:
        return self._fill(self._templates["sentence"][meaning.tense], meaning)

    def headline(self, meaning: Meaning) -> str:
        return self._fill(self._templates["headline"], grammar.headline_meaning(meaning))

    def _fill(self, template: str, meaning: Meaning) -> str:
        words = {
            "time": self._phrase("time", time=self._word("time", meaning.time)) if meaning.time else "",
            "subject": self._subject(meaning),
            "verb": self._word("verb", meaning.verb),
            "object": self._object(meaning) if meaning.object else "",
            "place": self._place(meaning) if meaning.place else "",
        }
        return " ".join(template.format(**words).split())

    def _phrase(self, key: str, **words: str) -> str:
        return self._templates[key].format(**words)

    def _word(self, category: str, zh: str) -> str:
        return self._words[category, zh][0]

    def _subject(self, meaning: Meaning) -> str:
        subject = self._word(meaning.kind, meaning.subject)
        if meaning.owner:
            subject = self._phrase("owned", subject=subject, owner=self._word("name", meaning.owner))
        return self._phrase("subject", subject=subject)

    def _object(self, meaning: Meaning) -> str:
        noun, classifier = self._words["noun", meaning.object]
        if meaning.modifier in words("adjective"):
            noun = self._phrase("described", object=noun, adjective=self._word("adjective", meaning.modifier))
        elif meaning.modifier:
            number = self._word("number", meaning.modifier)
            noun = self._phrase("counted", object=noun, number=number, classifier=classifier)
        return self._phrase("object", object=noun)

    def _place(self, meaning: Meaning) -> str:
        place, preposition = self._words["place", meaning.place]
        if words("verb")[meaning.verb].frame == "move":
            return self._phrase("to", place=place)
        return self._phrase("at", place=place, preposition=preposition)


def _check(where: str, template: object, fields: tuple[str, ...]) -> None:
    """Check that a template is a text and has only allowed fields."""
    if not isinstance(template, str) or not template:
        raise ValueError(f"{where} is {template!r}; give a text")
    unknown = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None} - set(fields)
    if unknown:
        raise ValueError(f"{where}: {template!r} has {{{min(unknown)}}}; it can have {', '.join(fields) or 'no field'}")


def _read(path: Path) -> dict[tuple[str, str], tuple[str, str]]:
    """Word and its classifier or preposition, per category and Chinese word of the toy world."""
    found: dict[tuple[str, str], tuple[str, str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line and not line.startswith("#"):
            category, zh, word, more = [*line.split("\t"), "", "", ""][:4]
            if category not in CATEGORIES or zh not in words(category) or not word:
                raise ValueError(f"{path}:{number}: {line!r} is no word of the world; see lexicon.tsv for its words")
            found[category, zh] = word, more
    missing = [f"{category} {zh}" for category in CATEGORIES for zh in words(category) if (category, zh) not in found]
    if missing:
        raise ValueError(f"{path}: {len(missing)} words are missing, the first is {missing[0]}; give a line for each")
    return found
