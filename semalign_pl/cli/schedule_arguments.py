"""Keys of a schedule on the command line: its length may be left out, and is then the length of the run."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler, SequentialLR

from semalign_pl.modules.schedule import STEP_NAMES


def step_count_names(kind: type) -> list[str]:
    """Parameters of a schedule's class that mean its number of steps; none for any other class.

    jsonargparse fills in defaults, such as PolynomialLR's ``total_iters: 5``, and they could not be told from a value
    that the user gave. So the parser has null as default of these parameters, required or not.

    Args:
        kind: Class that a YAML names.

    >>> from torch.optim.lr_scheduler import CosineAnnealingLR
    >>> step_count_names(CosineAnnealingLR)
    ['T_max']
    """
    if not issubclass(kind, LRScheduler):
        return []
    return [name for name in STEP_NAMES if name in inspect.signature(kind).parameters]


def check_schedule(kind: type | Callable[..., object]) -> None:
    """Refuse a schedule that cannot be described in YAML.

    Args:
        kind: Class or function that a YAML names, for a schedule or anything else.

    Raises:
        ValueError: If it joins other schedules, or is a function; with the remedy.
    """
    name = f"{kind.__module__}.{kind.__name__}"
    if isinstance(kind, type) and issubclass(kind, ChainedScheduler | SequentialLR):
        raise ValueError(
            f"model.init_args.lr_scheduler: {name} joins schedules that were built on the optimiser before, which no "
            "YAML can give; use Cosine or Constant with warmup_steps, or derive a class from it that builds them"
        )
    if not isinstance(kind, type) and next(iter(inspect.signature(kind).parameters), None) == "optimizer":
        raise ValueError(
            f"model.init_args.lr_scheduler: {name} is a function, and keys can only be given to a class derived from "
            "torch.optim.lr_scheduler.LRScheduler; use Cosine or Constant with warmup_steps, or one of torch's"
        )
