"""Penalties for long and repetitive outputs, to which optimising a reward model leads (SG-SRL, arXiv 2605.29502)."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from jaxtyping import Float, Real
from torch import Tensor


def length_penalty(
    lengths: Real[Tensor, " completions"], start: float = 2.5, end: float = 5.0
) -> Float[Tensor, " completions"]:
    """Length penalty ``p_len``: 0 up to ``start`` times the batch's median length, then linear to 1 at ``end`` times.

    Args:
        lengths: Lengths of a batch's completions, in any unit. The median of an even number of lengths is the mean of
            the middle two.
        start: Length at which the penalty begins, in medians.
        end: Length at which the penalty is 1, in medians.

    Returns:
        Penalties, float32 in [0, 1].

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
    """Share of a text's n-grams that repeat earlier ones: ``1 - distinct / all``.

    Args:
        units: Units of the text, e.g. syllables.
        n: Number of units per n-gram.

    Returns:
        Share in [0, 1); 0 if there is no n-gram.

    >>> repeated_ngrams("abababab", n=2)  # ab ba ab ba ab ba ab: 2 distinct of 7
    0.7142857142857143
    """
    ngrams = [tuple(units[i : i + n]) for i in range(len(units) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def repetition_penalty(ratios: Float[Tensor, " *dims"], threshold: float = 0.15) -> Float[Tensor, " *dims"]:
    """Repetition penalty ``p_rep``: the ratio of repeated n-grams if it exceeds the threshold, else 0.

    The paper gives the threshold but not the size of the penalty; the ratio itself is our choice.

    Args:
        ratios: Ratios of repeated n-grams, in [0, 1].
        threshold: Largest ratio without a penalty.

    Returns:
        Penalties, float32.

    >>> repetition_penalty(torch.tensor([0.0, 0.15, 0.5]))
    tensor([0.0000, 0.0000, 0.5000])
    """
    ratios = ratios.float()
    return torch.where(ratios > threshold, ratios, 0.0)
