"""The ``lang`` of a text: browsers choose fonts, line breaks and voices by it."""

from __future__ import annotations

from collections.abc import Sequence

from semalign_pl.languages import get_language

COMMON = ("bo", "zh", "en")


def guess_language(text: str, candidates: Sequence[str] = ()) -> str:
    """Code of the language that has most letters of a text; empty, which means unknown in HTML, without letters.

    Scripts are told apart, not languages of one script: of those, the first candidate is the answer.

    Args:
        text: Text.
        candidates: Codes of the likelier languages; Tibetan, Chinese and English are always considered.

    >>> guess_language("翻译成藏文"), guess_language("བཀྲ་ཤིས"), guess_language("Lhasa"), guess_language("1 + 1")
    ('zh', 'bo', 'en', '')
    """
    letters = {
        code: len(get_language(code).rule.letter.findall(text)) for code in dict.fromkeys((*candidates, *COMMON))
    }
    best = max(letters, key=lambda code: letters[code])
    return best if letters[best] else ""
