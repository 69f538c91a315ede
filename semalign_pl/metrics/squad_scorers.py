"""Scoring of short answers by language: SQuAD's rules for English, CMRC's for Chinese, units of the language else."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from semalign_pl.languages import Language, get_language
from semalign_pl.metrics import cmrc, squad


@dataclass(frozen=True)
class AnswerScorer:
    """Rules by which answers in one language are compared.

    Attributes:
        name: Name of the rules, for signatures.
        units: Function that returns the words or characters of a text, in its normal form and without punctuation.
        exact_match: Function of a prediction and its accepted answers (at least one) that returns 1 or 0.
        f1: Function of a prediction and its accepted answers (at least one) that returns 0 to 1.
    """

    name: str
    units: Callable[[str], list[str]]
    exact_match: Callable[[str, Sequence[str]], float]
    f1: Callable[[str, Sequence[str]], float]

    def contains(self, prediction: str, answers: Sequence[str]) -> float:
        """1 if the units of one of the answers follow one another in the prediction, else 0.

        Args:
            prediction: Answer of the model.
            answers: Accepted answers, at least one.
        """
        return float(any(is_within(self.units(answer), self.units(prediction)) for answer in answers))


def answer_scorer(language: str | Language) -> AnswerScorer:
    """Rules for answers in a language.

    Chinese (``zh``, ``zh-Hans``, ``zh-Hant``) has those of CMRC 2018, English those of SQuAD. For any other language
    the text is brought into its normal form (languages.yaml) and lower case, and cut into the language's units
    (syllables, characters or words). Units without a letter, mark or digit are left out. F1 is of the bags of units.

    Args:
        language: Code of the language, or a .yaml file of your own.

    Raises:
        ValueError: If there is no such language.
    """
    found = get_language(language)
    if found.code.split("-")[0] == "zh":
        return AnswerScorer("cmrc2018-v6", cmrc.segments, cmrc.exact_match, cmrc.f1)
    if found.code == "en":
        return AnswerScorer("squad-2.0", squad.tokens, squad.exact_match, squad.f1)

    def units(text: str) -> list[str]:
        return words_of(found, text)

    def exact_match(prediction: str, answers: Sequence[str]) -> float:
        return float(units(prediction) in [units(answer) for answer in answers])

    def f1(prediction: str, answers: Sequence[str]) -> float:
        return max(squad.overlap_f1(units(prediction), units(answer)) for answer in answers)

    return AnswerScorer(f"units-1:{found.unit}:{found.code}", units, exact_match, f1)


def words_of(language: Language, text: str) -> list[str]:
    """Units of a text in normal form and lower case, without those that are punctuation or other signs.

    Args:
        language: Language that cuts the text.
        text: Text in any spelling.
    """
    return [unit for unit in language.segment(language.normalise(text).casefold()) if any(map(_is_word, unit))]


def is_within(few: Sequence[str], many: Sequence[str]) -> bool:
    """Return true if the items of ``few`` follow one another somewhere in ``many``; false if there are none.

    >>> is_within(["b", "c"], ["a", "b", "c"]), is_within(["a", "c"], ["a", "b", "c"])
    (True, False)
    """
    starts = range(len(many) - len(few) + 1)
    return bool(few) and any(list(many[start : start + len(few)]) == list(few) for start in starts)


def _is_word(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN"
