"""From a judge's logits to a reward, and what of a text a judge can read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable

import torch  # noqa: F401  (the doctests need it)
from torch import Tensor


def yes_probability(logits: Tensor) -> Tensor:
    """``exp z_yes / (exp z_yes + exp z_no)`` (SG-SRL, arXiv 2605.29502).

    Args:
        logits: ``(..., 2)`` float: of yes, and of no.

    Returns:
        ``(...)`` float32 in [0, 1].

    >>> yes_probability(torch.tensor([[0.0, 0.0], [3.0, 3.0 - torch.tensor(3.0).log()], [-1e4, 1e4]]))
    tensor([0.5000, 0.7500, 0.0000])
    """
    return logits.float().log_softmax(-1)[..., 0].exp()


def longest_prefix(text: str, cost: Callable[[str], int], limit: int) -> str:
    """The longest beginning of a text that costs no more than a limit.

    Whatever the cost does in between, what is returned keeps the limit, unless not even the empty text does.

    Args:
        text: The text.
        cost: Of a beginning of it, e.g. the tokens of a message that holds it; grows with it.
        limit: The most that it may cost.

    Returns:
        A beginning of ``text``, maybe all or nothing of it.

    >>> longest_prefix("abcdef", lambda text: 10 + len(text), limit=13)
    'abc'
    """
    if cost(text) <= limit:
        return text
    return text[: max(0, bisect_right(range(len(text)), limit, key=lambda end: cost(text[:end])) - 1)]
