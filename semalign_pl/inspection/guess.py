"""Guess the language of a column from its script."""

from __future__ import annotations

from collections.abc import Sequence

from semalign_pl.languages import Language, get_language
from semalign_pl.languages.read import language_codes

LEAST = 0.5
"""Minimum share of a column's words that belong to the language."""


def guess_language(column: str, texts: Sequence[str]) -> Language | None:
    """Language with the largest share of words; among equals, the one the column is named after, else the first.

    Args:
        column: Name of the column.
        texts: Sample of its texts.

    Returns:
        Language, or ``None`` if no language has half of the words.
    """
    joined, named = "\n".join(texts), column.lower().replace("_", "-")
    codes = language_codes()
    ranked = [(round(get_language(code).share(joined), 2), code.lower() == named, -i) for i, code in enumerate(codes)]
    best, _, place = max(ranked)
    return get_language(codes[-place]) if best >= LEAST else None
