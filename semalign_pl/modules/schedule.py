"""Learning-rate schedules that get the number of steps of the run, so that no YAML repeats it."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

ScheduleCallable = Callable[..., LRScheduler]
"""Factory of a schedule. It gets the optimiser, and the number of steps if it has a parameter of ``STEP_NAMES``."""

STEP_NAMES = ("total_steps", "T_max", "total_iters", "num_training_steps")
"""Names of parameters for the number of optimiser steps of the run, filled in unless the user sets them: those of this
module's and torch's schedules, and of transformers' functions."""


def build_schedule(factory: Callable[..., LRScheduler], optimizer: Optimizer, steps: int) -> LRScheduler:
    """Build a schedule, and pass it the number of steps of the run if it has a parameter for it.

    Args:
        factory: Class or function that takes the optimiser, or a ``partial`` of one with the user's arguments.
        optimizer: Optimiser whose learning rate the schedule sets.
        steps: Number of optimiser steps of the run.

    Returns:
        Schedule, to be stepped once per optimiser step.

    Raises:
        ValueError: If it cannot be built, needs a metric, ends before the run does, or replaces the learning rate that
            one group of parameters has of its own.
    """
    target, given = _unwrap(factory)
    name = getattr(target, "__name__", type(target).__name__)
    if target is ReduceLROnPlateau or (inspect.isclass(target) and issubclass(target, ReduceLROnPlateau)):
        raise ValueError(
            f"model.init_args.lr_scheduler: {name} follows a metric of validation, and a schedule is stepped here once "
            "per optimiser step; use e.g. Cosine, or an EarlyStopping callback beside it"
        )
    parameters = inspect.signature(target).parameters
    filled_in = (
        {} if given.get("epochs") else {n: steps for n in STEP_NAMES if n in parameters and given.get(n) is None}
    )
    rates = [group["lr"] for group in optimizer.param_groups]
    try:
        schedule = factory(optimizer, **filled_in)
    except (TypeError, ValueError, NotImplementedError, AttributeError) as error:
        raise ValueError(
            f"model.init_args.lr_scheduler: {name} cannot be built ({type(error).__name__}: {error}); a schedule gets "
            f"the optimiser, and the number of steps where it has a parameter {' or '.join(STEP_NAMES)}: give the "
            "others in init_args, or use Cosine or Constant"
        ) from error
    if not isinstance(schedule, LRScheduler):
        raise ValueError(
            f"model.init_args.lr_scheduler: {name} made a {type(schedule).__name__}, which is no schedule of torch; "
            "use a class of torch.optim.lr_scheduler or one derived from it, or Cosine or Constant"
        )
    if len(rates) > 1 and rates != [group["initial_lr"] for group in optimizer.param_groups]:
        raise ValueError(
            f"model.init_args.lr_scheduler: {name} sets one learning rate for all weights, so that rows of new tokens "
            "would not have the one of model.init_args.vocabulary.lr; leave that out, or use a schedule that "
            "multiplies, e.g. Cosine"
        )
    if isinstance(schedule, OneCycleLR) and schedule.total_steps < steps:  # else it would raise at its end
        raise ValueError(
            f"model.init_args.lr_scheduler: {name} is over after {schedule.total_steps} steps, and the run has "
            f"{steps}; leave total_steps, epochs and steps_per_epoch out, or set trainer.max_steps"
        )
    return schedule


def _unwrap(factory: Callable[..., object]) -> tuple[Callable[..., object], dict[str, object]]:
    """Callable and keyword arguments of a ``partial``; in jsonargparse's, the class is a positional argument."""
    given: dict[str, object] = {}
    while isinstance(factory, functools.partial):
        given = {**factory.keywords, **given}
        factory = next((arg for arg in factory.args if inspect.isclass(arg)), factory.func)
    return factory, given


class Cosine(LambdaLR):
    """Linear warm-up, then half a cosine from the full learning rate down to zero.

    Args:
        optimizer: Optimiser whose learning rate the schedule sets.
        total_steps: Number of optimiser steps of the run; filled in if left out.
        warmup_steps: Number of steps from zero to the full learning rate.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup_steps: int = 0) -> None:
        def factor(step: int) -> float:
            if step < warmup_steps:
                return (step + 1) / warmup_steps
            progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))

        self.warmup_steps = warmup_steps  # in the state, so that a resumed run detects a change
        super().__init__(optimizer, factor)


class Constant(LambdaLR):
    """Linear warm-up, then the full learning rate.

    Args:
        optimizer: Optimiser whose learning rate the schedule sets.
        warmup_steps: Number of steps from zero to the full learning rate.
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int = 0) -> None:
        self.warmup_steps = warmup_steps
        super().__init__(optimizer, lambda step: min(1.0, (step + 1) / max(1, warmup_steps)))
