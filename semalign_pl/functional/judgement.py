"""Reward from a judge's logits, and the part of a text that fits the judge's limit."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import torch  # noqa: F401  (the doctests need it)
from jaxtyping import Float
from torch import Tensor


def yes_probability(logits: Float[Tensor, "*dims 2"]) -> Float[Tensor, " *dims"]:
    """Probability of yes, ``exp z_yes / (exp z_yes + exp z_no)`` (SG-SRL, arXiv 2605.29502).

    Args:
        logits: Logits of yes and no.

    Returns:
        Probabilities, float32 in [0, 1].

    >>> yes_probability(torch.tensor([[0.0, 0.0], [3.0, 3.0 - torch.tensor(3.0).log()], [-1e4, 1e4]]))
    tensor([0.5000, 0.7500, 0.0000])
    """
    return logits.float().log_softmax(-1)[..., 0].exp()


def longest_prefix(text: str, cost: Callable[[str], int], limit: int) -> str:
    """Longest prefix of a text whose cost is within a limit.

    The result is within the limit even if the cost is not monotonic, unless the empty text already exceeds it.

    Args:
        text: Text to cut.
        cost: Function from a prefix to its cost, e.g. the tokens of a message with it; grows with the prefix.
        limit: Maximum cost.

    Returns:
        A prefix of ``text``; all of it or the empty text are possible.

    >>> longest_prefix("abcdef", lambda text: 10 + len(text), limit=13)
    'abc'
    """
    if cost(text) <= limit:
        return text
    return text[: max(0, bisect_right(range(len(text)), limit, key=lambda end: cost(text[:end])) - 1)]
