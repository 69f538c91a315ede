"""Exact match and F1 of SQuAD answers, as the official evaluation of version 2.0 defines them (arXiv 1806.03822).

That of version 1.1 (arXiv 1606.05250) differs only if nothing is left of both answer and prediction, such as "the".
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def tokens(text: str) -> list[str]:
    """Words of a text in lower case, without ASCII punctuation and without the articles a, an and the.

    >>> tokens("The U.S. Army's, an army")
    ['us', 'armys', 'army']
    """
    return _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1 if the words of the prediction are those of one of the answers, else 0.

    Args:
        prediction: Answer of the model.
        answers: Accepted answers, at least one.

    >>> exact_match("the Rhine.", ["Rhine"])
    1.0
    """
    return float(tokens(prediction) in [tokens(answer) for answer in answers])


def f1(prediction: str, answers: Sequence[str]) -> float:
    """F1 of the words that prediction and answer share, each as often as it is in both; the best over the answers.

    Args:
        prediction: Answer of the model.
        answers: Accepted answers, at least one.

    >>> f1("in the year 1963", ["1963"])
    0.5
    """
    return max(overlap_f1(tokens(prediction), tokens(answer)) for answer in answers)


def overlap_f1(prediction: Sequence[str], answer: Sequence[str]) -> float:
    """F1 of two bags of words, 0 to 1; 1 if both are empty.

    Args:
        prediction: Words of the prediction.
        answer: Words of the answer.
    """
    if not prediction or not answer:
        return float(not prediction and not answer)
    shared = sum((Counter(prediction) & Counter(answer)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(prediction), shared / len(answer)
    return 2 * precision * recall / (precision + recall)
