"""Counting of words, sentences and keywords by language, for checks of instructions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import regex

from semalign_pl.languages import Language, get_language
from semalign_pl.languages.read import language_codes
from semalign_pl.metrics.cmrc import english_sentences
from semalign_pl.metrics.squad_scorers import is_within, words_of

if TYPE_CHECKING:
    from langdetect.detector_factory import DetectorFactory

_CASED = frozenset(("Latin", "Cyrillic", "Greek", "Armenian"))
_UNSTOPPED = frozenset(("Thai", "Lao"))
"""Scripts whose sentences end without a sign."""
_FULL_STOP = ".．"
"""Signs that also occur within a sentence, as in 3.5."""
_COMMAS = ",，،\u104a\u1802\u1808"
"""Commas of all languages, with those of Burmese, Mongolian and Manchu."""
_SENTENCE_END = regex.compile(
    rf"(?:[\p{{Sentence_Terminal}}…།༎༏༐༑༔--[{_FULL_STOP}{_COMMAS}]]|[{_FULL_STOP}](?!\S))+", regex.V1
)
"""Signs that end a sentence: Unicode's, of which the Burmese comma is one, and the Tibetan shads, which are none."""
_WORD = regex.compile(r"\w+")  # as NLTK, with marks; `re` ends a word at each vowel of Indic scripts
_WORD_END = re.compile(r"""[.,?!'"]""")


@dataclass(frozen=True)
class TextRules:
    """Rules by which words, sentences, keywords and commas of a response are counted.

    For English they are those of IFEval. For any other language words are the units of languages.yaml (syllables,
    characters, words) in normal form, and a keyword occurs where its units follow one another.

    Attributes:
        language: Language of the responses.
    """

    language: Language

    @property
    def is_english(self) -> bool:
        """True for English."""
        return self.language.code == "en"

    @property
    def has_case(self) -> bool:
        """True if the language's script has capital letters."""
        return not _CASED.isdisjoint(self.language.scripts)

    @property
    def ends_sentences(self) -> bool:
        """True if the language's script has signs that end a sentence."""
        return _UNSTOPPED.isdisjoint(self.language.scripts)

    @property
    def commas(self) -> str:
        """Signs that are commas."""
        return "," if self.is_english else _COMMAS

    def count_words(self, text: str) -> int:
        """Number of words; of units with a letter, mark or digit in a language other than English."""
        return len(_WORD.findall(text)) if self.is_english else len(words_of(self.language, text))

    def count_sentences(self, text: str) -> int:
        """Number of sentences; in a language other than English, of texts between signs that end one."""
        if self.is_english:
            return len(english_sentences(text))
        return sum(any(map(str.isalnum, unicodedata.normalize("NFC", piece))) for piece in _SENTENCE_END.split(text))

    def count_keyword(self, keyword: str, text: str) -> int:
        """Number of times that a keyword occurs, whatever its case; in English also inside a longer word."""
        if self.is_english:
            return len(re.findall(re.escape(keyword.strip()), text, re.IGNORECASE))
        return _count(words_of(self.language, keyword), words_of(self.language, text))

    def has_word(self, word: str, text: str) -> bool:
        """Return true if a whole word occurs, whatever its case."""
        if self.is_english:
            return re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) is not None
        return is_within(words_of(self.language, word), words_of(self.language, text))

    def starts_with(self, word: str, paragraph: str) -> bool:
        """Return true if a word is the first one of a paragraph that is not blank, whatever its case."""
        if self.is_english:
            first = paragraph.split()[0].lstrip("'").lstrip('"')
            return _WORD_END.split(first)[0].lower() == word.lower()
        units = words_of(self.language, word)
        return bool(units) and words_of(self.language, paragraph)[: len(units)] == units

    @property
    def signature(self) -> str:
        """Rules, for signatures."""
        return "words:ifeval" if self.is_english else f"words:{self.language.unit}|lang:{self.language.code}"


def _count(few: Sequence[str], many: Sequence[str]) -> int:
    """Number of times that the items of ``few`` follow one another in ``many``, without overlaps."""
    found, place = 0, 0
    while few and place + len(few) <= len(many):
        hit = list(many[place : place + len(few)]) == list(few)
        found, place = found + hit, place + (len(few) if hit else 1)
    return found


def check_detectable(where: str, code: str) -> None:
    """Refuse a language in which the text of a response cannot be told from that in others.

    Args:
        where: Beginning of the message.
        code: Code of the language.

    Raises:
        ValueError: If neither langdetect nor languages.yaml has the language, or langdetect is needed and not
            installed.
    """
    if not _by_words(code) and code not in _detector().langlist:
        raise ValueError(f"{where}: no rule tells whether a text is in {code!r}; drop the row")


def is_in(code: str, text: str) -> bool:
    """Return true if a text is in a language; also if it has no letter to tell, as IFEval counts it.

    langdetect decides for the languages that it has, always with the same seed; for others, such as Tibetan and
    Chinese, most words must be in the language by languages.yaml.

    Args:
        code: Code of the language.
        text: Response.
    """
    if _by_words(code):
        own, foreign = get_language(code).count_units(text)
        return own > len(foreign) or own == len(foreign) == 0
    return detect(text) in (code, None)


def _by_words(code: str) -> bool:
    """Return true for a language of languages.yaml that langdetect lacks."""
    return code in language_codes() and code not in "en ne th".split()


def detect(text: str) -> str | None:
    """Code of the language of a text by langdetect; ``None`` if there is nothing to tell from.

    Args:
        text: Response.
    """
    from langdetect.lang_detect_exception import LangDetectException

    detector = _detector().create()
    detector.seed = 0  # it samples, and the global seed is not set, for the sake of others that use it
    detector.append(text)
    try:
        return detector.detect()
    except LangDetectException:
        return None


@cache
def _detector() -> DetectorFactory:
    """Profiles of langdetect, loaded once.

    Raises:
        ValueError: If langdetect is not installed.
    """
    try:
        from langdetect import PROFILES_DIRECTORY
        from langdetect.detector_factory import DetectorFactory
    except ImportError as error:
        raise ValueError(
            "InstructionProbe: the language of English and other responses is told by langdetect, which is not "
            "installed; pip install 'semalign-pl[ifeval]', or drop the rows with language:response_language, "
            "change_case:english_capital and change_case:english_lowercase"
        ) from error
    factory = DetectorFactory()
    factory.load_profile(PROFILES_DIRECTORY)
    return factory
