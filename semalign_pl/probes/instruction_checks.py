"""Checks of verifiable instructions: pure functions of a response, by the published rules of IFEval (arXiv 2311.07911).

Keywords are compared as they are written; the published code takes them for regular expressions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from semalign_pl.metrics.cmrc import english_words
from semalign_pl.probes.instruction_language import TextRules, detect, is_in

_OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_POSTSCRIPTS = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}


def holds(count: int, relation: str, number: int) -> bool:
    """Return true if a count is ``less than`` a number, or ``at least`` it.

    Args:
        count: Number that was counted.
        relation: ``less than`` or ``at least``.
        number: Number to compare with.
    """
    return count < number if relation == "less than" else count >= number


# -- keywords ---------------------------------------------------------------------------------------------------------


def has_keywords(text: str, rules: TextRules, *, keywords: Sequence[str]) -> bool:
    """Return true if every keyword occurs."""
    return all(rules.count_keyword(keyword, text) for keyword in keywords)


def has_keyword_often(text: str, rules: TextRules, *, keyword: str, frequency: int, relation: str) -> bool:
    """Return true if a keyword occurs as often as wanted."""
    return holds(rules.count_keyword(keyword, text), relation, frequency)


def has_no_forbidden_word(text: str, rules: TextRules, *, forbidden_words: Sequence[str]) -> bool:
    """Return true if no forbidden word occurs as a whole word."""
    return not any(rules.has_word(word, text) for word in forbidden_words)


def has_letter_often(text: str, rules: TextRules, *, letter: str, let_frequency: int, let_relation: str) -> bool:
    """Return true if a letter occurs as often as wanted, whatever its case."""
    return holds(text.lower().count(letter.strip().lower()), let_relation, let_frequency)


# -- language and length ----------------------------------------------------------------------------------------------


def is_in_language(text: str, rules: TextRules, *, language: str) -> bool:
    """Return true if the response is in a language."""
    return is_in(language, text)


def has_sentences(text: str, rules: TextRules, *, num_sentences: int, relation: str) -> bool:
    """Return true if there are as many sentences as wanted."""
    return holds(rules.count_sentences(text), relation, num_sentences)


def has_words(text: str, rules: TextRules, *, num_words: int, relation: str) -> bool:
    """Return true if there are as many words as wanted."""
    return holds(rules.count_words(text), relation, num_words)


def has_paragraphs(text: str, rules: TextRules, *, num_paragraphs: int) -> bool:
    """Return true if there are exactly that many paragraphs between dividers ``***``; only the ends may be blank."""
    pieces = re.split(r"\s?\*\*\*\s?", text)
    return _count_filled(pieces) == num_paragraphs


def has_first_word(text: str, rules: TextRules, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """Return true if there are exactly that many paragraphs between blank lines, and one begins with a word."""
    pieces = text.split("\n\n")
    filled = sum(bool(piece.strip()) for piece in pieces)
    if not 1 <= nth_paragraph <= filled or not pieces[nth_paragraph - 1].strip():
        return False
    return filled == num_paragraphs and rules.starts_with(first_word, pieces[nth_paragraph - 1].strip())


# -- content and format -----------------------------------------------------------------------------------------------


def has_placeholders(text: str, rules: TextRules, *, num_placeholders: int) -> bool:
    """Return true if there are at least that many ``[placeholders]``."""
    return len(re.findall(r"\[.*?\]", text)) >= num_placeholders


def has_postscript(text: str, rules: TextRules, *, postscript_marker: str) -> bool:
    """Return true if the marker of a postscript occurs, whatever its case."""
    marker = _POSTSCRIPTS.get(postscript_marker.strip(), re.escape(postscript_marker.strip().lower()))
    return re.search(marker, text.lower()) is not None


def has_bullets(text: str, rules: TextRules, *, num_bullets: int) -> bool:
    """Return true if exactly that many lines begin with a bullet, ``*`` or ``-``."""
    stars, dashes = (re.findall(bullet, text, re.MULTILINE) for bullet in (r"^\s*\*[^*].*$", r"^\s*-.*$"))
    return len(stars) + len(dashes) == num_bullets


def is_one_of_the_options(text: str, rules: TextRules) -> bool:
    """Return true if one of the three answers occurs: yes, no, maybe."""
    return any(option in text for option in _OPTIONS)


def has_highlights(text: str, rules: TextRules, *, num_highlights: int) -> bool:
    """Return true if at least that many texts are ``*highlighted*``; ``**double**`` ones count once more."""
    single = re.findall(r"\*([^\n*]*)\*", text)
    double = re.findall(r"\*\*([^\n*]*)\*\*", text)
    return sum(bool(one.strip()) for one in [*single, *double]) >= num_highlights


def has_sections(text: str, rules: TextRules, *, section_spliter: str, num_sections: int) -> bool:
    """Return true if at least that many sections begin with the splitter and a number, such as ``Section 1``."""
    return len(re.findall(rf"{re.escape(section_spliter.strip())}\s?\d+", text)) >= num_sections


def is_json(text: str, rules: TextRules) -> bool:
    """Return true if the whole response is JSON, in a fenced block or not."""
    body = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        body = body.removeprefix(fence)
    try:
        json.loads(body.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def has_title(text: str, rules: TextRules) -> bool:
    """Return true if there is a title in ``<<double angular brackets>>``."""
    return any(title.lstrip("<").rstrip(">").strip() for title in re.findall(r"<<[^\n]+>>", text))


# -- combinations, start and end --------------------------------------------------------------------------------------


def has_two_responses(text: str, rules: TextRules) -> bool:
    """Return true if there are two different responses between dividers ``******``; only the ends may be blank."""
    pieces = text.split("******")
    filled = [piece.strip() for piece in pieces if piece.strip()]
    return _count_filled(pieces) == 2 and filled[0] != filled[1]


def repeats_prompt(text: str, rules: TextRules, *, prompt_to_repeat: str) -> bool:
    """Return true if the response begins with a text, whatever its case."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def ends_with(text: str, rules: TextRules, *, end_phrase: str) -> bool:
    """Return true if the response ends with a phrase, whatever its case; quotation marks after it are ignored."""
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def is_quoted(text: str, rules: TextRules) -> bool:
    """Return true if the whole response is in double quotation marks."""
    text = text.strip()
    return len(text) > 1 and text[0] == text[-1] == '"'


# -- case and punctuation ---------------------------------------------------------------------------------------------


def has_capital_words(text: str, rules: TextRules, *, capital_frequency: int, capital_relation: str) -> bool:
    """Return true if there are as many words in capital letters as wanted."""
    words = english_words(text) if rules.is_english else rules.language.segment(text)
    return holds(sum(map(str.isupper, words)), capital_relation, capital_frequency)


def is_capital_english(text: str, rules: TextRules) -> bool:
    """Return true if all letters are capital ones, and the response is English."""
    return text.isupper() and detect(text) in ("en", None)


def is_lowercase_english(text: str, rules: TextRules) -> bool:
    """Return true if all letters are lower case, and the response is English."""
    return text.islower() and detect(text) in ("en", None)


def has_no_comma(text: str, rules: TextRules) -> bool:
    """Return true if there is no comma."""
    return not any(comma in text for comma in rules.commas)


def _count_filled(pieces: Sequence[str]) -> int:
    """Number of pieces that are not blank; -1 if a piece between two others is blank."""
    if any(not piece.strip() for piece in pieces[1:-1]):
        return -1
    return sum(bool(piece.strip()) for piece in pieces)
