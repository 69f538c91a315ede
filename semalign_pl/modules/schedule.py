"""Learning-rate schedules that are told the length of the run, so that no YAML repeats it."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

ScheduleCallable = Callable[[Optimizer, int], LRScheduler]


class Cosine(LambdaLR):
    """Linear warm-up, then half a cosine down to zero.

    Args:
        optimizer: Whose learning rate to steer.
        total_steps: Optimiser steps of the run; filled in by the module.
        warmup_steps: Steps from zero to the full rate.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup_steps: int = 0) -> None:
        def factor(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / warmup_steps
            progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

        self.warmup_steps = warmup_steps  # in the state, where a resumed run finds it changed
        super().__init__(optimizer, factor)


class Constant(LambdaLR):
    """Linear warm-up, then the full rate.

    Args:
        optimizer: Whose learning rate to steer.
        total_steps: Unused; every schedule is told.
        warmup_steps: Steps from zero to the full rate.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup_steps: int = 0) -> None:
        self.warmup_steps = warmup_steps
        super().__init__(optimizer, lambda step: min(1.0, (step + 1) / max(1, warmup_steps)))
