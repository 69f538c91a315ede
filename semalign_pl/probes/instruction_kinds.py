"""Kinds of verifiable instructions by their published names, with their arguments, and strict and loose checking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from semalign_pl.messages.suggestion import suggest
from semalign_pl.probes import instruction_checks as checks
from semalign_pl.probes.instruction_language import TextRules, check_detectable

_RELATIONS = ("less than", "at least")
_CASE = frozenset(("change_case:capital_word_frequency",))
_SENTENCES = frozenset(("length_constraints:number_sentences",))
_ENGLISH = frozenset(
    ("change_case:english_capital", "change_case:english_lowercase", "detectable_format:constrained_response")
)
_DETECTED = frozenset(("change_case:english_capital", "change_case:english_lowercase"))
KINDS: Mapping[str, tuple[Callable[..., bool], Mapping[str, type]]] = {
    "keywords:existence": (checks.has_keywords, {"keywords": list}),
    "keywords:frequency": (checks.has_keyword_often, {"keyword": str, "frequency": int, "relation": str}),
    "keywords:forbidden_words": (checks.has_no_forbidden_word, {"forbidden_words": list}),
    "keywords:letter_frequency": (
        checks.has_letter_often,
        {"letter": str, "let_frequency": int, "let_relation": str},
    ),
    "language:response_language": (checks.is_in_language, {"language": str}),
    "length_constraints:number_sentences": (checks.has_sentences, {"num_sentences": int, "relation": str}),
    "length_constraints:number_paragraphs": (checks.has_paragraphs, {"num_paragraphs": int}),
    "length_constraints:number_words": (checks.has_words, {"num_words": int, "relation": str}),
    "length_constraints:nth_paragraph_first_word": (
        checks.has_first_word,
        {"num_paragraphs": int, "nth_paragraph": int, "first_word": str},
    ),
    "detectable_content:number_placeholders": (checks.has_placeholders, {"num_placeholders": int}),
    "detectable_content:postscript": (checks.has_postscript, {"postscript_marker": str}),
    "detectable_format:number_bullet_lists": (checks.has_bullets, {"num_bullets": int}),
    "detectable_format:constrained_response": (checks.is_one_of_the_options, {}),
    "detectable_format:number_highlighted_sections": (checks.has_highlights, {"num_highlights": int}),
    "detectable_format:multiple_sections": (checks.has_sections, {"section_spliter": str, "num_sections": int}),
    "detectable_format:json_format": (checks.is_json, {}),
    "detectable_format:title": (checks.has_title, {}),
    "combination:two_responses": (checks.has_two_responses, {}),
    "combination:repeat_prompt": (checks.repeats_prompt, {"prompt_to_repeat": str}),
    "startend:end_checker": (checks.ends_with, {"end_phrase": str}),
    "startend:quotation": (checks.is_quoted, {}),
    "change_case:capital_word_frequency": (
        checks.has_capital_words,
        {"capital_frequency": int, "capital_relation": str},
    ),
    "change_case:english_capital": (checks.is_capital_english, {}),
    "change_case:english_lowercase": (checks.is_lowercase_english, {}),
    "punctuation:no_comma": (checks.has_no_comma, {}),
}
"""Check of each kind of instruction, and the types of its arguments."""


@dataclass(frozen=True)
class Instruction:
    """One verifiable instruction.

    Attributes:
        kind: Published name, a key of ``KINDS``.
        given: Arguments of the check by name.
    """

    kind: str
    given: Mapping[str, object]

    def is_followed(self, response: str, rules: TextRules) -> bool:
        """Return true if a response that is not blank follows the instruction.

        Args:
            response: Response of the model.
            rules: Rules of the language.
        """
        return bool(response.strip()) and KINDS[self.kind][0](response, rules, **self.given)

    def is_followed_loosely(self, response: str, rules: TextRules) -> bool:
        """Return true if the response, or a variant of it, follows the instruction (IFEval's loose accuracy).

        Args:
            response: Response of the model.
            rules: Rules of the language.
        """
        return any(self.is_followed(variant, rules) for variant in loose_variants(response))


def loose_variants(response: str) -> list[str]:
    r"""Response and its seven variants: without asterisks, without its first line, its last line or both.

    Args:
        response: Response of the model.

    >>> loose_variants("*a*\nb")
    ['*a*\nb', 'b', '*a*', '', 'a\nb', 'b', 'a', '']
    """
    lines = response.split("\n")
    shortened = ["\n".join(kept).strip() for kept in (lines[1:], lines[:-1], lines[1:-1])]
    variants = [response, *shortened]
    return variants + [variant.replace("*", "") for variant in variants]


def read_instruction(where: str, kind: object, given: Mapping[str, object], rules: TextRules) -> Instruction:
    """Check a kind and its arguments.

    Args:
        where: Beginning of messages.
        kind: Published name of the kind.
        given: Arguments; those of other kinds are null, as in the hub's table.
        rules: Rules of the language of the responses.

    Returns:
        Instruction with the arguments that its check needs.

    Raises:
        ValueError: If there is no such kind, it cannot be checked in the language, or an argument is missing or wrong.
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{where}: no kind of instruction {kind!r}; {suggest(str(kind), list(KINDS), 'see IFEval')}")
    language = rules.language
    if kind in _ENGLISH and not rules.is_english:
        raise ValueError(f"{where}: {kind} is defined for English only, and language is {language.code}; drop the row")
    if kind in _CASE and not rules.has_case:
        raise ValueError(f"{where}: {kind}: {language.name} has no capital letters; drop the row")
    if kind in _SENTENCES and not rules.ends_sentences:
        raise ValueError(f"{where}: {kind}: {language.name} has no sign that ends a sentence; drop the row")
    arguments = {
        name: _argument(f"{where}: {kind}", name, given.get(name), type) for name, type in KINDS[kind][1].items()
    }
    if kind == "language:response_language":
        check_detectable(where, str(arguments["language"]))
    elif kind in _DETECTED:
        check_detectable(where, "en")
    return Instruction(kind, arguments)


def _argument(where: str, name: str, value: object, wanted: type) -> object:
    """Argument of a check, in its type.

    Raises:
        ValueError: If it is missing or of another type.
    """
    if wanted is int and isinstance(value, int | float) and not isinstance(value, bool) and value == int(value) >= 0:
        return int(value)
    if wanted is str and isinstance(value, str) and value.strip():
        if not name.endswith("relation") or value in _RELATIONS:
            return value
        raise ValueError(f"{where}: {name} is {value!r}; give one of {', '.join(_RELATIONS)}")
    if wanted is list and isinstance(value, list) and value and all(isinstance(one, str) and one for one in value):
        return value
    kind = {int: "a whole number", str: "text", list: "a list of texts"}[wanted]
    raise ValueError(f"{where}: {name} is {str(value)[:40]!r}, not {kind}; mend the row or drop it")


def follow(instructions: Sequence[Instruction], response: str, rules: TextRules, loose: bool) -> list[bool]:
    """True for each instruction that a response follows.

    Args:
        instructions: Instructions of one prompt.
        response: Response of the model.
        rules: Rules of the language.
        loose: True to accept variants of the response.
    """
    return [
        one.is_followed_loosely(response, rules) if loose else one.is_followed(response, rules) for one in instructions
    ]
