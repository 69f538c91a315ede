"""Which language a column is in, by its script."""

from __future__ import annotations

from collections.abc import Sequence

from semalign_pl.languages import LanguageProfile, get_language
from semalign_pl.languages.read import known

LEAST = 0.5
"""Share of a column's words that must be the language's."""


def guess_language(column: str, texts: Sequence[str]) -> LanguageProfile | None:
    """The language that has most of the words; of several, the one that the column is named after, else the first.

    Args:
        column: The column's name.
        texts: Some of its texts.

    Returns:
        ``None`` where no language has half of the words.
    """
    joined, named = "\n".join(texts), column.lower().replace("_", "-")
    ranked = [(round(get_language(code).share(joined), 2), code.lower() == named, -i) for i, code in enumerate(known())]
    best, _, place = max(ranked)
    return get_language(known()[-place]) if best >= LEAST else None
