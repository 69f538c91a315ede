"""Checks for NaN and infinity in weights, gradients and losses: they are named, and never written or loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

REMEDY = (
    "Lower model.init_args.optimizer.init_args.lr and start again in another folder; semalign export writes an earlier "
    "checkpoint's weights as a folder to start from"
)


class Diverged(ValueError):
    """A run is no success, whatever step it ends in: nothing of it is exported or saved any more."""


def first_nonfinite(state: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor that contains NaN or infinity; ``None`` if there is none.

    Args:
        state: Mapping of names to tensors of any shape and dtype; integer tensors are always finite.

    >>> first_nonfinite({"a": torch.ones(2), "b": torch.tensor([1.0, float("inf")])})
    'b'
    """
    return next((name for name, tensor in state.items() if not torch.isfinite(tensor).all()), None)


def check_finite(state: Mapping[str, Tensor], where: str, remedy: str) -> None:
    """Refuse weights that are not finite.

    Args:
        state: Mapping of names to weights.
        where: Beginning of the message: the option or file that the weights belong to.
        remedy: End of the message: what to do.

    Raises:
        ValueError: If a tensor contains NaN or infinity; names the first one.
    """
    if (bad := first_nonfinite(state)) is not None:
        raise ValueError(f"{where} NaN or infinity in {bad}; {remedy}")


def check_to_write(state: Mapping[str, Tensor], target: str) -> None:
    """Refuse to write weights that are not finite, before the target's old content is touched.

    Args:
        state: Mapping of names to weights.
        target: File or folder to be written, named in the message.

    Raises:
        Diverged: If a tensor contains NaN or infinity; names the target and the first such tensor.
    """
    if (bad := first_nonfinite(state)) is not None:
        raise Diverged(
            f"{target} is not written: the run's weights have NaN or infinity in {bad}, so it has diverged. {REMEDY}"
        )


def check_weights(parameters: Iterable[Tensor], step: int, rate: float) -> None:
    """Refuse to continue after an optimiser step that made weights NaN or infinite.

    Args:
        parameters: Trained weights.
        step: Number of the last optimiser step, from 1.
        rate: Learning rate of that step.

    Raises:
        Diverged: If the norm of the weights is not finite; names the step and the remedy.
    """
    norm = torch.nn.utils.get_total_norm([p.detach() for p in parameters])
    if not norm.isfinite():
        raise divergence_error("the norm of the trained weights", norm, step, rate)


def divergence_error(what: str, value: Tensor | float, step: int, rate: float) -> Diverged:
    """Error that stops a run with a value that is not finite.

    Args:
        what: Name of the quantity.
        value: Value of the quantity.
        step: Number of the optimiser step, from 1.
        rate: Learning rate of that step.

    Returns:
        The error to raise.
    """
    return Diverged(
        f"step {step}: {what} is {float(value):g} at a learning rate of {rate:g}, so the run has diverged and stops; "
        f"nothing is exported. {REMEDY}"
    )
