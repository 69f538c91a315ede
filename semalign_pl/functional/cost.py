"""Direction of a metric: what counts as a loss of general ability."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", float, NDArray[np.float64])

_COSTS = frozenset(("nll", "kl", "loss", "perplexity", "ppl", "bits", "error", "errors", "wer", "cer"))
_ABILITIES = frozenset("em f1 accuracy acc match chrf bleu bleu4 rouge similarity consistency".split())
_QUALIFIERS = frozenset(("avg", "strict", "loose"))
"""Words of the package's abilities that may also qualify a cost, such as ``nll_avg``."""


def less_is_better(metric: str) -> bool:
    """Return true if a metric is itself a cost, so that less is better.

    The name says it: a metric with the word nll, kl, loss, perplexity (ppl), bits, error, wer or cer is a cost, unless
    a word of an ability, such as acc or f1, follows: the beginning may be a task's name (``error_detection_acc``). Any
    other metric is an ability. So a user's own probe chooses the direction of its scores by their names.

    Args:
        metric: Name of the metric.

    >>> less_is_better("nll_change_mean"), less_is_better("forward_kl"), less_is_better("error_detection_acc")
    (True, True, False)
    """
    words = [word for word in metric.split("_") if word in _COSTS | _ABILITIES]
    return bool(words) and words[-1] in _COSTS


def names_direction(metric: str) -> bool:
    """Return true if the name of a metric says whether more or less of it is better.

    Args:
        metric: Name of the metric.

    >>> names_direction("cmrc_f1"), names_direction("speed")
    (True, False)
    """
    return less_is_better(metric) or not (_ABILITIES | _QUALIFIERS).isdisjoint(metric.split("_"))


def loss_of(metric: str, value: Number, reference: Number) -> Number:
    """Loss of general ability, in the metric's unit; below 0 if it was gained.

    Args:
        metric: Name of the metric, which decides the direction.
        value: Value of the system.
        reference: Value of the model that the loss is against.

    >>> loss_of("cmrc_f1", 88.0, 90.0), loss_of("nll_change_mean", 0.25, 0.0)
    (2.0, 0.25)
    """
    return value - reference if less_is_better(metric) else reference - value


def allows_all(metric: str, most: float, reference: float) -> bool:
    """Return true if a budget allows the loss of all that a model has of an ability, so that it limits nothing.

    Args:
        metric: Name of the metric; only a name that says that it is an ability has an end, at 0.
        most: Most that may be lost, above 0.
        reference: Value of the model that the loss is against.

    >>> allows_all("cmrc_f1", 60.0, 55.0), allows_all("cmrc_f1", 10.0, 55.0), allows_all("speed", 60.0, -5.0)
    (True, False, False)
    """
    return names_direction(metric) and not less_is_better(metric) and most >= reference
