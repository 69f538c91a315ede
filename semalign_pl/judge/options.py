"""Probabilities of the options of a question, from a language model's logits."""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def longest_shared(ends: Sequence[list[int]]) -> list[int]:
    """Longest beginning that two token sequences have in common.

    Args:
        ends: Token ids of each option.

    >>> longest_shared([[5, 1], [5, 2], [7]])  # a space and a digit are two tokens, " tie" is one, as in Qwen3
    [5]
    """
    return list(max((os.path.commonprefix([*pair]) for pair in combinations(ends, 2)), key=len))


def option_probabilities(
    logits: Float[Tensor, "levels vocabulary"], shared: Sequence[int], ends: Sequence[Sequence[int]]
) -> list[float]:
    """Probability of each option among all options, up to the token that tells it apart from the others.

    Args:
        logits: Logits after the common tokens, then after each shared token.
        shared: Longest beginning that two options have in common.
        ends: Token ids of each option after the common tokens.

    >>> import torch
    >>> logits = torch.tensor([[0.0, 0.6, 0.4], [0.75, 0.25, 0.0]]).log()
    >>> [round(one, 6) for one in option_probabilities(logits, [1], [[1, 0], [1, 1], [2]])]
    [0.45, 0.15, 0.4]
    """
    probabilities, reached = [0.0] * len(ends), 1.0
    for level, row in enumerate(logits):
        open_ = [place for place, end in enumerate(ends) if list(end[:level]) == list(shared[:level])]
        tokens = list(dict.fromkeys(ends[place][level] for place in open_))
        shares = dict(zip(tokens, row[tokens].float().softmax(-1).tolist(), strict=True))
        for place in open_:
            probabilities[place] = reached * shares[ends[place][level]]
        if level < len(shared):
            reached *= shares[shared[level]]
    return probabilities
