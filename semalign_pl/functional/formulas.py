"""Values of metrics from the sum of their items' sufficient statistics, for many resamples at once.

A metric of a test is a function of a sum over items (texts, questions). So resampling items needs no text: the draw
counts of the resamples times the statistics of the items are the sums of all resamples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from semalign_pl.functional.bootstrap import percentile_interval, resample_sums
from semalign_pl.types import Item, MetricResult

Array = NDArray[np.float64]

# The C library's functions, as in sacrebleu: those of numpy differ in the last digit, and between processors.
_log = np.vectorize(lambda x: math.log(x) if x else -9999999999.0, otypes=[np.float64])  # sacrebleu's log of 0
_exp = np.vectorize(math.exp, otypes=[np.float64])


def value(formula: str, total: Array, n: int) -> Array:
    """Value of a metric from the sum of the statistics of its items.

    Args:
        formula: ``mean`` (one statistic: the sum divided by the number of items), ``ratio`` (two: the first sum divided
            by the second), ``chrf`` (three per order, character orders first: n-grams of prediction, of reference, and
            of both), ``bleu`` (ten: lengths of prediction and reference, matching 1- to 4-grams, 1- to 4-grams of the
            prediction) or ``sentence_bleu`` (as ``bleu``, with effective order).
        total: Sums of the statistics, ``(…, statistics)`` float64, one per resample.
        n: Number of items per resample.

    Returns:
        Values, ``(…,)`` float64: ``chrf`` and BLEU from 0 to 100; NaN for a ratio to 0.

    Raises:
        ValueError: If there is no such formula, or it takes another number of statistics.

    >>> value("ratio", np.array([[1.0, 2.0], [3.0, 4.0]]), n=7).tolist()
    [0.5, 0.75]
    """
    if formula not in _FORMULAS:
        raise ValueError(f"formula: there is no {formula!r}; take one of {', '.join(_FORMULAS)}")
    given, wanted = total.shape[-1], _STATISTICS[formula]
    if given != wanted and (formula != "chrf" or given % wanted or not given):
        per = " per order" if formula == "chrf" else ""
        raise ValueError(f"formula: {formula!r} takes {wanted} statistics{per}, and there are {given}")
    return _FORMULAS[formula](total, n)


def score(formula: str, statistics: Array, signature: str, n_bootstrap: int = 1000, seed: int = 12345) -> MetricResult:
    """Metric of all items, with its 95 % percentile bootstrap interval over items.

    Args:
        formula: Formula, as in ``value``.
        statistics: Statistics of the items, ``(items, statistics)`` float64.
        signature: Every option that changes the value; those of the bootstrap are added.
        n_bootstrap: Number of resamples; 0 for no interval.
        seed: Seed of the bootstrap resampling; the same for all systems, so that they are compared on the same draws.

    Returns:
        Result without a set of items; no interval if some resample has no value.

    Raises:
        ValueError: If there is no item, or as in ``value``.

    >>> score("mean", np.array([[1.0], [2.0]]), "mine", n_bootstrap=0)
    MetricResult(value=1.5, ci=None, signature='mine', items=None, formula='mean')
    """
    n = len(statistics)
    if n == 0:
        raise ValueError(f"{signature}: there is no item to score")
    rows = torch.from_numpy(np.ascontiguousarray(statistics, dtype=np.float64))
    of_all = float(value(formula, rows.sum(0).numpy(), n))
    if n_bootstrap == 0:
        return MetricResult(of_all, None, signature, formula=formula)
    values = value(formula, resample_sums(rows, n_bootstrap, seed).numpy(), n)
    interval = percentile_interval(values.tolist()) if np.isfinite(values).all() else None
    return MetricResult(of_all, interval, f"{signature}|bs:{n_bootstrap}|seed:{seed}", formula=formula)


def score_items(
    items: Sequence[Item], metric: str, formula: str, signature: str, n_bootstrap: int = 1000, seed: int = 12345
) -> MetricResult:
    """Metric of the items of one set; what a probe returns beside them.

    Args:
        items: Items, all of one set.
        metric: Name of the metric in the items' statistics.
        formula: Formula, as in ``value``.
        signature: Every option that changes the value.
        n_bootstrap: Number of resamples; 0 for no interval.
        seed: Seed of the bootstrap resampling.

    Raises:
        ValueError: If there is no item, or the items are of several sets, or as in ``value``.

    >>> right = [Item("quiz", str(i), {"quiz": [float(i < 3)]}) for i in range(4)]
    >>> score_items(right, "quiz", "mean", "quiz", n_bootstrap=0).value
    0.75
    """
    sets = sorted({item.set for item in items})
    if len(sets) != 1:
        raise ValueError(f"{metric}: its items are of {len(sets)} sets ({', '.join(sets)}); give items of one set")
    statistics = np.array([item.statistics[metric] for item in items], dtype=np.float64)
    result = score(formula, statistics, signature, n_bootstrap, seed)
    return replace(result, items=sets[0])


def _mean(total: Array, n: int) -> Array:
    return total[..., 0] / n


def _ratio(total: Array, n: int) -> Array:
    above, below = total[..., 0], total[..., 1]
    return np.where(below == 0, np.nan, above / np.where(below == 0, 1.0, below))


def _chrf(total: Array, n: int) -> Array:
    """F of mean precision and mean recall over the orders that both texts have, recall counted twice (beta 2)."""
    orders = total.reshape(*total.shape[:-1], -1, 3)
    hypothesis, reference, match = orders[..., 0], orders[..., 1], orders[..., 2]
    both = (hypothesis > 0) & (reference > 0)
    effective = np.maximum(both.sum(-1), 1)
    # cumsum adds in the order of a loop, so that the last digit is sacrebleu's.
    precision = np.where(both, match / np.where(both, hypothesis, 1.0), 0.0).cumsum(-1)[..., -1] / effective
    recall = np.where(both, match / np.where(both, reference, 1.0), 0.0).cumsum(-1)[..., -1] / effective
    some = precision + recall > 0
    return np.where(some, 100 * (5 * precision * recall / np.where(some, 4 * precision + recall, 1.0)), 0.0)


def _corpus_bleu(total: Array, n: int) -> Array:
    return _bleu(total, effective=False)


def _sentence_bleu(total: Array, n: int) -> Array:
    return _bleu(total, effective=True)


def _bleu(total: Array, effective: bool) -> Array:
    """BLEU-4 with exponential smoothing (mteval-v13a), as sacrebleu computes it."""
    length, reference = total[..., 0], total[..., 1]
    correct, ngrams = total[..., 2:6], total[..., 6:10]
    # A text of two words has no 3-grams: no order from there on counts.
    exists = np.logical_and.accumulate(ngrams > 0, axis=-1)
    missed = exists & (correct == 0)
    # The k-th order without a match counts as half a match, a quarter, …
    smoothed = 100.0 / np.where(missed, 2.0 ** missed.cumsum(-1) * ngrams, 1.0)
    precision = np.where(missed, smoothed, 100.0 * correct / np.where(exists, ngrams, 1.0))
    logs = _log(np.where(exists, precision, 0.0))
    orders = exists.sum(-1) if effective else np.full(length.shape, 4)
    if effective:
        logs = np.where(exists, logs, 0.0)
    short = (length > 0) & (length < reference)
    brevity = _exp(np.where(short, 1 - reference / np.where(short, length, 1.0), 0.0))
    geometric = _exp(logs.cumsum(-1)[..., -1] / np.maximum(orders, 1))
    return np.where((correct > 0).any(-1), brevity * geometric, 0.0)


_FORMULAS: dict[str, Callable[[Array, int], Array]] = {
    "mean": _mean,
    "ratio": _ratio,
    "chrf": _chrf,
    "bleu": _corpus_bleu,
    "sentence_bleu": _sentence_bleu,
}
_STATISTICS = {"mean": 1, "ratio": 2, "chrf": 3, "bleu": 10, "sentence_bleu": 10}
"""Number of statistics by formula; for ``chrf``, per order."""
