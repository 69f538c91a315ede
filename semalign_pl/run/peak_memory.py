"""Peak memory of a process."""

from __future__ import annotations

import resource
import sys


def measure_peak() -> float:
    """Largest resident memory so far of this process or of one of its ended children, in MiB."""
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return largest / (2**20 if sys.platform == "darwin" else 2**10)
