"""Language rule: is a text wholly in one language, by Unicode's rules on characters, marks and padding?"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import regex

INVISIBLE = r"\u200B\u200C\uFEFF\u00AD"
"""Zero-width space and non-joiner, byte order mark, soft hyphen: left in text by editors, web pages and files."""

NEUTRAL = (
    r"[\p{P}\p{N}\p{Sm}\p{Sc}\p{Zs}\t\n\r°℃&&\p{Script_Extensions=Common}]"
    r"[\p{P}&&\p{Script=Common}&&\p{Script_Extensions=Han}]·\u3380-\u33DF" + INVISIBLE
)
"""Characters that belong to no language: punctuation, digits, mathematical and currency signs, ° and ℃, white space.

``Script_Extensions`` rather than ``Script``: U+0964 DEVANAGARI DANDA has the script Common, but Unicode lists it as
used with Indic scripts. East Asian punctuation (``、。「」·``) is an exception: Chinese keyboards type it, whatever the
language. U+3380 to U+33DF are units of measurement in one sign, such as ``㎡``.
"""

UNITS = frozenset(
    "nm µm μm mm cm m km ha mg g kg l L ml mL Hz kHz MHz GHz kB KB MB GB TB W kW MW GW Wh kWh V kV mAh Pa hPa".split()
)
"""Symbols of units of measurement, the same in every language.

Source: the SI Brochure (9th edition, 2019), chapters 2 to 4; IEC 80000-13 for bytes. ``A`` and ``B`` are not listed:
after a number they are more often part of a name (``4A级``).
"""
_SYMBOLS = UNITS | {"h", "s", "min", "C", "F"}
"""Symbols including those that count only after a unit and a slash, or after a degree sign."""

SIGNS_PER_LETTER = 5
"""Maximum number of signs per letter, plus one per text; more are padding. ``-25°, 30℃, 1+1=2, $5 ¥3`` with four
letters is not padding, seven tshegs after one letter are. Digits, signs between digits and white space count a quarter
each."""
MOST_MARKS = 9
"""Maximum number of marks per letter: Tibetan's tallest stack in use (Kalachakra) has seven letters below."""
MOST_VOWELS = 3
"""Maximum number of dependent vowel signs per letter: a long vocalic r takes two; one more for a key pressed twice."""

_LIGHT = regex.compile(r"[\s\p{Nd}]|(?<=\p{Nd})\p{P}(?=\p{Nd})")
_OTHER = regex.compile(r"[^\p{L}\p{M}]")
_MARK = regex.compile(r"\p{M}")
_BEARS_MARKS = regex.compile(r"[\p{L}\p{M}]")
_VOWEL = regex.compile(r"\p{Indic_Syllabic_Category=Vowel_Dependent}")


@dataclass(frozen=True)
class Rule:
    """Language rule of one language.

    A text passes if

    1. every character, in NFC, is the language's or neutral (``NEUTRAL``), except in units of measurement;
    2. at least one letter is the language's, and letters are not outnumbered by signs, digits and white space
       (``SIGNS_PER_LETTER``);
    3. every mark follows a letter, a mark, or a digit or symbol of the language's script; a joiner may be between;
    4. no letter has more than ``MOST_MARKS`` marks or ``MOST_VOWELS`` dependent vowels, and no letter with four or more
       marks has one of them three times.

    Nearly all text passes three searches of explicit character ranges, which take a fraction of the time of Unicode
    properties; the full rule runs only if one of them fails.

    Attributes:
        characters: Characters that may occur.
        letter: Letters of the language.
        base: Digits and symbols that may bear a mark.
        plain: Text of allowed characters only, with a letter before any mark.
        stack: Four or more marks in a row.
        suspect: A sign before a mark, or four or more signs in a row.
        foreign: Characters that may not occur, and any beyond the Basic Multilingual Plane.
    """

    characters: regex.Pattern[str]
    letter: regex.Pattern[str]
    base: regex.Pattern[str]
    plain: re.Pattern[str]
    stack: re.Pattern[str]
    suspect: re.Pattern[str]
    foreign: re.Pattern[str]

    def __call__(self, text: str) -> bool:
        """Return true if ``text`` passes."""
        composed = unicodedata.normalize("NFC", text)
        if self.plain.fullmatch(composed) is None:
            return self._has_only_its_characters(composed) and self.is_well_formed(text)
        return self._has_sound_stacks(text) and (self.suspect.search(text) is None or self._has_sound_signs(text))

    def is_well_formed(self, text: str) -> bool:
        """Return true if letters of the language predominate and marks have bases, whatever other characters occur."""
        return _MARK.match(text) is None and self._has_sound_stacks(text) and self._has_sound_signs(text)

    def find_foreign(self, text: str) -> Iterator[str]:
        """Yield the characters of a text that may not occur, in order.

        Args:
            text: Text in NFC.
        """
        for run in self.foreign.finditer(text):
            if not is_unit(text, *run.span()):
                yield from (c for c in run[0] if c <= "\uffff" or not self.characters.fullmatch(c))

    def _has_only_its_characters(self, text: str) -> bool:
        return next(self.find_foreign(text), None) is None

    def _has_sound_stacks(self, text: str) -> bool:
        return not any(map(_is_absurd, self.stack.findall(text)))

    def _has_sound_signs(self, text: str) -> bool:
        padding = 0
        for match in self.suspect.finditer(text):
            if _MARK.match(text, match.end()) and not self._bears_mark(text, match.end() - 1):
                return False
            padding += len(match[0]) if len(match[0]) > 1 else 0
        # There are p signs in long runs, and at most 3 before, between and after n letters. As
        # 3 (n + 1) + p <= 5 n + 1 if n >= p / 2 + 1, finding a few letters is enough for most text.
        needed = padding // 2 + 2
        if sum(1 for _ in islice(self.letter.finditer(text), needed)) == needed:
            return True
        letters = len(self.letter.findall(text))
        signs = len(_OTHER.findall(text)) - len(_LIGHT.findall(text)) * 3 / 4
        return letters > 0 and signs <= SIGNS_PER_LETTER * letters + 1

    def _bears_mark(self, text: str, at: int) -> bool:
        if text[at] in "\u200c\u200d":
            return at > 0 and _BEARS_MARKS.match(text[at - 1]) is not None
        return self.base.match(text[at]) is not None


def compile_rule(scripts: tuple[str, ...], letters: str, also: str) -> Rule:
    """Compile the rule of a language.

    Args:
        scripts: Values of the Unicode property ``Script``.
        letters: Regex set of the letters and marks in use, if not all of the scripts'; or empty.
        also: Members of a regex set: further characters that may occur.
    """
    of_scripts = "".join(rf"\p{{Script={script}}}" for script in scripts)
    used_with = "".join(rf"\p{{Script_Extensions={script}}}" for script in scripts)
    outside = rf"--[[\p{{L}}\p{{M}}]&&[{of_scripts}]--{letters}]" if letters else ""
    within = f"&&{letters}" if letters else ""
    characters = regex.compile(rf"[[[{used_with}]{outside}]{NEUTRAL}{also}]++", regex.V1)
    own = regex.compile(rf"[\p{{L}}&&[{of_scripts}]{within}]", regex.V1)
    members = "".join(characters.findall(_PLANE))
    letter, mark, sign = (_set("".join(kind.findall(members))) for kind in (own, _MARK, _OTHER))
    every = _set(members)
    return Rule(
        characters=characters,
        letter=own,
        base=regex.compile(rf"[[\p{{N}}\p{{S}}]&&[{of_scripts}]]", regex.V1),
        plain=re.compile(f"{sign}*{letter}{every}*"),
        # Two patterns: one pattern with alternatives takes longer than both, as it cannot skip to a set of characters.
        stack=re.compile(f"{mark}{mark}{mark}{mark}+"),
        suspect=re.compile(f"{sign}(?!{letter})(?:(?={mark})|{sign}{sign}{sign}+)"),
        foreign=re.compile(f"[^{every[1:]}+"),
    )


def is_unit(text: str, start: int, stop: int) -> bool:
    """Return true if ``text[start:stop]`` is the symbol of a unit of measurement.

    That is after a number (``5 km``, ``90 km/h``), with an exponent (``m²``), or C or F after ``°``.
    """
    symbol = text[start:stop]
    if symbol not in _SYMBOLS:
        return False
    before, after = text[max(0, start - 2) : start], text[stop : stop + 1]
    if before.endswith("/"):
        return symbol not in ("C", "F")  # the text before the slash is checked separately
    if before.endswith("°"):
        return symbol in ("C", "F")
    return symbol in UNITS and (after in ("²", "³") or before.rstrip(" \u00a0")[-1:].isdigit())


def _is_absurd(marks: str) -> bool:
    return (
        len(marks) > MOST_MARKS
        or len(_VOWEL.findall(marks)) > MOST_VOWELS
        or any(marks.count(mark) > 2 for mark in set(marks))
    )


def _set(members: str) -> str:
    """Character set of ``re`` from characters in ascending order; for none, a pattern that matches nothing."""
    ranges: list[list[int]] = []
    for point in map(ord, members):
        if ranges and point == ranges[-1][1] + 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return "[" + "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in ranges) + "]" if ranges else "(?!)"


_PLANE = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x10000))))
"""Characters of the Basic Multilingual Plane; those beyond it are checked more slowly."""
