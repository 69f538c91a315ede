"""Script of a character, by its Unicode property."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import regex

# Scripts of living languages, the most frequent in our corpora first. A script not listed counts as "other".
SCRIPTS = (
    *("Tibetan", "Han", "Latin", "Arabic", "Cyrillic", "Mongolian", "Yi", "Thai", "Lao", "Myanmar", "Khmer"),
    *("Devanagari", "Hiragana", "Katakana", "Hangul", "Bopomofo", "Greek", "Hebrew", "Armenian", "Georgian"),
    *("Bengali", "Gujarati", "Gurmukhi", "Kannada", "Malayalam", "Oriya", "Tamil", "Telugu", "Sinhala", "Newa"),
    *("Ethiopic", "Phags_Pa", "Lisu", "Miao", "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Lepcha", "Limbu"),
    *("Javanese", "Balinese", "Cham", "Meetei_Mayek", "Ol_Chiki", "Thaana", "Syriac", "Cherokee", "Nko", "Tifinagh"),
)
OTHER = "other"
_LETTER = regex.compile(r"\p{L}")
_SCRIPT = {script: regex.compile(rf"\p{{Script={script}}}") for script in SCRIPTS}


def script_of(letter: str) -> str:
    """Script of one letter; ``other`` if it is not among ``SCRIPTS``."""
    return next((script for script, pattern in _SCRIPT.items() if pattern.match(letter)), OTHER)


def script_mix(characters: Mapping[str, int], most: int = 5) -> dict[str, float]:
    """Share of each script in the letters, the largest first.

    Args:
        characters: Number of occurrences of each character.
        most: Maximum number of scripts to name; the rest is added to ``other``.
    """
    letters: Counter[str] = Counter()
    for character, count in characters.items():
        if _LETTER.match(character):
            letters[script_of(character)] += count
    total = letters.total()
    named = [(script, count) for script, count in letters.most_common() if script != OTHER][:most]
    rest = total - sum(count for _, count in named)
    return {script: count / total for script, count in [*named, *([(OTHER, rest)] if rest else [])]}
