"""Extraction of the final answer from generated text, and its comparison with accepted answers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

from semalign_pl.metrics.squad_scorers import AnswerScorer

Match = Literal["exact", "normalised", "number", "contains", "f1"]

_NUMBER = re.compile(r"(?:(?<![\dA-Za-z])[-−])?(?:\d+(?:[,，]\d{3}(?!\d))*(?:\.\d+)?|\.\d+)")
_WHOLE_NUMBER = re.compile(r"(-?)(\d*)(\.\d+)?(?:/(\d+))?")
_UNITS = re.compile(r"[\s,，$€£¥￥%°]")


def extract(text: str, rule: str | None) -> str:
    """Final answer in a generated text; empty if there is none.

    Args:
        text: Generated text.
        rule: ``first_number``, ``last_number``, ``first_line`` (the first that is not blank), a regular expression
            whose first group is the answer (of its first match), or ``None`` for the whole text.

    >>> extract("16 - 3 = 13, so she earns $1,040.", "last_number")
    '1,040'
    >>> extract("Add them. #### 42", "#### (.+)")
    '42'
    """
    if rule is None:
        return text.strip()
    if rule == "first_line":
        return next((line.strip() for line in text.splitlines() if line.strip()), "")
    if rule in ("first_number", "last_number"):
        numbers = _NUMBER.findall(text)
        return "" if not numbers else numbers[0 if rule == "first_number" else -1]
    found = re.search(rule, text)
    return (found[1] or "").strip() if found else ""


def check_rule(option: str, rule: str | None) -> None:
    """Refuse a rule for `extract` that is no regular expression with a group.

    Args:
        option: YAML key, for the message.
        rule: Rule.

    Raises:
        ValueError: If the rule is no regular expression, or has no group.
    """
    if rule in (None, "first_line", "first_number", "last_number"):
        return
    wanted = "give first_number, last_number, first_line, null, or a regular expression with a group, e.g. '#### (.+)'"
    try:
        groups = re.compile(rule).groups
    except re.error as error:
        raise ValueError(f"{option}: {rule!r} is no regular expression ({error}); {wanted}") from error
    if not groups:
        raise ValueError(f"{option}: {rule!r} has no group; {wanted}")


def to_number(text: str) -> Fraction | None:
    """Number that a text is, without thousands separators, currency and percent signs; ``None`` if it is none.

    Digits of any script count; ``3/4`` is a fraction.

    Args:
        text: Text of a number only, such as ``$1,040.00``.

    >>> to_number("$1,040.00"), to_number("1040"), to_number("about 3")
    (Fraction(1040, 1), Fraction(1040, 1), None)
    """
    plain = "".join(_plain_digit(char) for char in _UNITS.sub("", unicodedata.normalize("NFKC", text)))
    found = _WHOLE_NUMBER.fullmatch(plain.replace("−", "-").removesuffix("."))
    if not found or not (found[2] or found[3]) or (found[4] and int(found[4]) == 0):
        return None
    value = Fraction(f"{found[2] or '0'}{found[3] or ''}") / int(found[4] or 1)
    return -value if found[1] else value


def compare(answer: str, references: Sequence[str], match: Match, scorer: AnswerScorer) -> float:
    """1 if an answer is right, else 0.

    Args:
        answer: Extracted answer.
        references: Accepted answers, at least one.
        match: ``exact`` (the same text, apart from white space around it), ``normalised`` (equal by the rules of the
            language), ``number`` (equal as numbers), ``contains`` (a reference occurs in the answer, by the rules of
            the language); ``f1`` is as ``normalised``.
        scorer: Rules of the language.
    """
    if match == "exact":
        return float(answer.strip() in [reference.strip() for reference in references])
    if match == "number":
        value = to_number(answer)
        return float(value is not None and value in map(to_number, references))
    if match == "contains":
        return scorer.contains(answer, references)
    return scorer.exact_match(answer, references)


def _plain_digit(char: str) -> str:
    digit = unicodedata.decimal(char, None)
    return char if digit is None else str(digit)
