"""Progress of a study: its position, and a forecast of the time left."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence


def time_left(pending: Iterable[str], seconds: Mapping[str, Sequence[float]], jobs: int = 1) -> float | None:
    """Forecast the duration of the steps that are not done.

    A step takes as long as the finished ones of the same name, for other seeds, or else of the same command. Judging,
    which comes last and is short beside training, is left out until a judge has finished.

    Args:
        pending: Names of the steps that are not done, such as ``fit cold_start``.
        seconds: Durations of the finished steps in seconds, by name.
        jobs: Number of steps that run at the same time.

    Returns:
        Seconds, or ``None`` if no step of one of the other commands is finished.

    >>> time_left(["fit a", "fit b"], {"fit a": [10.0, 20.0], "test a": [1.0]})
    30.0
    >>> time_left(["frontier a"], {"fit a": [10.0]}) is None
    True
    >>> time_left(["fit b", "judge a-vs-b"], {"fit a": [10.0]})
    10.0
    """
    total = 0.0
    for name in pending:
        command = name.split()[0]
        known = seconds.get(name) or [one for key, each in seconds.items() if key.split()[0] == command for one in each]
        if not known and command != "judge":
            return None
        total += statistics.fmean(known or [0.0])
    return total / jobs
