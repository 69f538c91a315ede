"""Direction of a metric: what counts as a loss of general ability."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", float, NDArray[np.float64])

_COSTS = ("nll", "kl", "loss", "perplexity", "ppl", "bits", "error", "errors", "wer", "cer")
_ABILITIES = "em f1 avg accuracy acc match strict loose chrf bleu bleu4 rouge similarity consistency".split()


def less_is_better(metric: str) -> bool:
    """Return true if a metric is itself a cost, so that less is better.

    The name says it: a metric with the word nll, kl, loss, perplexity (ppl), bits, error, wer or cer is a cost, and any
    other an ability. So a user's own probe chooses the direction of its scores by their names.

    Args:
        metric: Name of the metric.

    >>> less_is_better("nll_change_mean"), less_is_better("forward_kl"), less_is_better("cmrc_f1")
    (True, True, False)
    """
    return not set(_COSTS).isdisjoint(metric.split("_"))


def names_direction(metric: str) -> bool:
    """Return true if the name of a metric says whether more or less of it is better.

    Args:
        metric: Name of the metric.

    >>> names_direction("cmrc_f1"), names_direction("speed")
    (True, False)
    """
    return less_is_better(metric) or not set(_ABILITIES).isdisjoint(metric.split("_"))


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
