"""Percentile bootstrap over rows (Efron, 1979): the spread of a statistic over test sets of this size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

_DRAWS = 2**18
"""Number of rows drawn per call; bounds memory and changes nothing else."""
Statistic = Callable[[Float[Tensor, " rows"]], float]
"""Function from the draw counts of a resample to its value."""


def resample_counts(rows: int, n_bootstrap: int, seed: int) -> Iterator[Float[Tensor, " rows"]]:
    """Draw counts per row of bootstrap resamples; the same for the same seed.

    Args:
        rows: Number of rows; each resample draws as many, with replacement.
        n_bootstrap: Number of resamples.
        seed: Seed of a separate generator; the global one is not used.

    Yields:
        Counts, float64 on the CPU, each summing to ``rows``.

    >>> [counts.sum().item() for counts in resample_counts(5, 2, seed=0)]
    [5.0, 5.0]
    """
    generator = torch.Generator().manual_seed(seed)
    at_once = max(1, _DRAWS // max(1, rows))  # one call per resample would take most of the time
    for start in range(0, n_bootstrap, at_once):
        resamples = min(at_once, n_bootstrap - start)
        drawn = torch.randint(rows, (resamples, rows), generator=generator)
        drawn += rows * torch.arange(resamples).unsqueeze(1)
        yield from torch.bincount(drawn.flatten(), minlength=resamples * rows).view(resamples, rows).double()


def confidence_interval(
    statistic: Statistic, rows: int, n_bootstrap: int = 1000, seed: int = 12345
) -> tuple[float, float]:
    """95 % percentile interval of a statistic under resampling of rows.

    Args:
        statistic: Function from float64 draw counts to the statistic of that resample.
        rows: Number of rows.
        n_bootstrap: Number of resamples.
        seed: Seed of the resampling; two systems with the same seed get the same resamples.

    Returns:
        The 2.5th and the 97.5th percentile, linearly interpolated.

    >>> confidence_interval(lambda counts: counts.sum().item(), rows=7, n_bootstrap=10)
    (7.0, 7.0)
    """
    return percentile_interval([statistic(counts) for counts in resample_counts(rows, n_bootstrap, seed)])


def resample_sums(
    statistics: Float[Tensor, "rows statistics"], n_bootstrap: int, seed: int
) -> Float[Tensor, "resamples statistics"]:
    """Sums of statistics over the rows of each resample.

    Args:
        statistics: Statistics per row, float64 on the CPU.
        n_bootstrap: Number of resamples.
        seed: Seed of the resampling.

    >>> resample_sums(torch.ones(5, 1, dtype=torch.float64), n_bootstrap=2, seed=0).tolist()
    [[5.0], [5.0]]
    """
    return torch.stack([counts @ statistics for counts in resample_counts(len(statistics), n_bootstrap, seed)])


def percentile_interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % percentile interval: the 2.5th and the 97.5th percentile, linearly interpolated.

    Args:
        values: Value of each resample.
    """
    low, high = torch.tensor(values, dtype=torch.float64).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64))
    return low.item(), high.item()
