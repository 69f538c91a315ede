"""Direction of a metric: what counts as a loss of general ability."""

from __future__ import annotations

import re
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Number = TypeVar("Number", float, NDArray[np.float64])

_RISING = re.compile(r"(^|_)(nll|kl|loss|perplexity|error|errors)(_|$)")


def rises(metric: str) -> bool:
    """Return true if a metric is itself a cost, so that less is better.

    The name says it: nll, kl, loss, perplexity and error are costs, everything else is an ability.

    Args:
        metric: Name of the metric.

    >>> rises("nll_change_mean"), rises("forward_kl"), rises("cmrc_f1")
    (True, True, False)
    """
    return _RISING.search(metric) is not None


def loss_of(metric: str, value: Number, reference: Number) -> Number:
    """Loss of general ability, in the metric's unit; below 0 if it was gained.

    Args:
        metric: Name of the metric, which decides the direction.
        value: Value of the system.
        reference: Value of the model that the loss is against.

    >>> loss_of("cmrc_f1", 88.0, 90.0), loss_of("nll_change_mean", 0.25, 0.0)
    (2.0, 0.25)
    """
    return value - reference if rises(metric) else reference - value
