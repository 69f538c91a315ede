"""What a policy that optimises a reward model tends to do, as numbers (SG-SRL, arXiv 2605.29502)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor


def length_penalty(lengths: Tensor, start: float = 2.5, end: float = 5.0) -> Tensor:
    """``p_len``: 0 up to ``start`` times the batch's median length, then linear to 1 at ``end`` times.

    Args:
        lengths: ``(completions,)``, one batch's, in any unit; of an even number, the median is the middle two's mean.
        start: Where it begins, in medians.
        end: Where it is full, in medians.

    Returns:
        ``(completions,)`` float32 in [0, 1].

    Raises:
        ValueError: Unless ``0 < start < end``.

    >>> length_penalty(torch.tensor([10, 10, 10, 25, 30, 50, 80]))  # median 25
    tensor([0.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.2800])
    """
    if not 0 < start < end:
        raise ValueError(f"start: {start} and end: {end} do not make a slope; give 0 < start < end, e.g. 2.5 and 5.0")
    lengths = lengths.float()
    if len(lengths) == 0:
        return lengths
    median = lengths.quantile(0.5).clamp(min=1.0)
    return ((lengths / median - start) / (end - start)).clamp(0.0, 1.0)


def repeated_ngrams(units: Sequence[Hashable], n: int = 4) -> float:
    """Share of a text's n-grams that stood in it before: ``1 - distinct / all``.

    Args:
        units: What the text is made of, e.g. syllables.
        n: Units in an n-gram.

    Returns:
        In [0, 1); 0 where there is no n-gram.

    >>> repeated_ngrams("abababab", n=2)  # ab ba ab ba ab ba ab: 2 distinct of 7
    0.7142857142857143
    """
    ngrams = [tuple(units[i : i + n]) for i in range(len(units) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def repetition_penalty(ratios: Tensor, threshold: float = 0.15) -> Tensor:
    """``p_rep``: the ratio of repeated n-grams where it exceeds the threshold, else 0.

    The paper says where it acts and not how much it then is; the ratio itself is our choice.

    Args:
        ratios: Any shape, in [0, 1].
        threshold: Repetition that passes.

    Returns:
        The same shape, float32.

    >>> repetition_penalty(torch.tensor([0.0, 0.15, 0.5]))
    tensor([0.0000, 0.0000, 0.5000])
    """
    ratios = ratios.float()
    return torch.where(ratios > threshold, ratios, 0.0)
