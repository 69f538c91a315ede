"""Suggestion for a misspelt word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggest(word: str, words: Iterable[str], otherwise: str) -> str:
    """Suggestion of the most similar word, regardless of case, or the other advice if none is similar.

    Args:
        word: Word as the user wrote it.
        words: Words to suggest.
        otherwise: Advice if none of the words is similar.
    """
    by_lower = {word.lower(): word for word in words}
    similar = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.55)
    return f"did you mean {by_lower[similar[0]]}?" if similar else otherwise
