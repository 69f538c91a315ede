"""Conversion of a reward's return value to float32 scores; errors name the reward."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np
import torch
from torch import Tensor

QUOTED = 60
"""Number of characters of a completion that a message quotes."""


def read_return_value(given: object, author: str, completions: Sequence[str]) -> Tensor:
    """Convert the return value of a reward to a tensor.

    Args:
        given: List, tuple, other iterable, NumPy array or tensor of numbers; ``None`` and NaN mean not scored.
        author: Name of the reward in messages.
        completions: Texts that were scored.

    Returns:
        ``(completions,)`` float32 on CPU, NaN where not scored; shares no memory with ``given``.

    Raises:
        ValueError: If ``given`` is not a sequence, has another length, or has a value that is not a finite number,
            ``None`` or NaN.
    """
    if isinstance(given, Tensor | np.ndarray):
        shape, values = tuple(given.shape), given.tolist()
    elif isinstance(given, str | bytes | dict | set | frozenset) or not isinstance(given, Iterable):
        raise ValueError(
            f"{author} returned {_short(given)} ({type(given).__name__}) for {len(completions)} completions; return a "
            "list of one number (or None) per completion"
        )
    else:
        values = list(given)
        shape = (len(values),)
    if shape != (len(completions),):
        raise ValueError(
            f"{author} returned {shape} scores for {len(completions)} completions; return one number (or None) per "
            "completion"
        )
    numbers_of = [_number(value, author, text) for value, text in zip(values, completions, strict=True)]
    scores = torch.tensor(numbers_of, dtype=torch.float32)
    for place in scores.isinf().nonzero().flatten()[:1].tolist():
        raise ValueError(
            f"{author} returned {_short(values[place])}, infinite in float32, for the completion "
            f"{_short(completions[place])}; return a finite number, or None for not scored"
        )
    return scores


def first_nan(given: object) -> int | None:
    """Index of the first NaN, which unlike ``None`` may be an accident; ``None`` if there is none.

    >>> first_nan([1.0, None, float("nan")])
    2
    """
    values = given.tolist() if isinstance(given, Tensor | np.ndarray) else given
    if not isinstance(values, list | tuple):
        return None
    return next((place for place, value in enumerate(values) if value is not None and value != value), None)


def _number(value: object, author: str, completion: str) -> float:
    if value is None:
        return float("nan")
    if isinstance(value, numbers.Real | Decimal | np.bool_) or (isinstance(value, Tensor) and value.numel() == 1):
        try:
            # Without detach(), torch warns about a tensor that requires a gradient.
            return float(value.detach() if isinstance(value, Tensor) else value)
        except OverflowError:  # an integer beyond float64
            return float("inf")
        except (TypeError, ValueError, RuntimeError):
            pass  # a complex number, or an object that only looks like a number
    raise ValueError(
        f"{author} returned {_short(value)} ({type(value).__name__}) for the completion {_short(completion)}; return a "
        "number, or None for not scored"
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= QUOTED else f"{text[:QUOTED]} …"
