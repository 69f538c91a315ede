"""Where a step's time goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch


class Profile:
    """Seconds and tokens of a step's phases.

    Args:
        device: Waited for at the ends of each phase, where it works asynchronously.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self.tokens: dict[str, int] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time spent inside to a phase.

        Args:
            name: Of the phase.
        """
        start = self._now()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self._now() - start

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def metrics(self) -> dict[str, float]:
        """Seconds of each phase, its share of their sum, and tokens a second where tokens were given."""
        total = sum(self.seconds.values())
        values = {}
        for name, seconds in self.seconds.items():
            values[f"time/{name}_seconds"] = seconds
            values[f"time/{name}_share"] = seconds / total if total else 0.0
            if name in self.tokens:
                values[f"time/{name}_tokens_per_second"] = self.tokens[name] / seconds if seconds else 0.0
        return values
