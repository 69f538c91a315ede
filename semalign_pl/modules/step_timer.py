"""Time and throughput of the phases of a training step."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch


class StepTimer:
    """Seconds and tokens per phase of a step.

    Args:
        device: Device of the computation; a CUDA device is synchronised at the start and end of each phase.

    Attributes:
        seconds: Seconds per phase.
        tokens: Number of tokens per phase, set by the caller.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}
        self.tokens: dict[str, int] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time spent in the context to a phase.

        Args:
            name: Name of the phase.
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
        """Seconds per phase, share of the total, and tokens per second where tokens are set; values by log name."""
        total = sum(self.seconds.values())
        values = {}
        for name, seconds in self.seconds.items():
            values[f"time/{name}_seconds"] = seconds
            values[f"time/{name}_share"] = seconds / total if total else 0.0
            if name in self.tokens:
                values[f"time/{name}_tokens_per_second"] = self.tokens[name] / seconds if seconds else 0.0
        return values
