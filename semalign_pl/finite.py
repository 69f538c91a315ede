"""NaN and infinity in weights, gradients and losses: found, named, and never written or loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


class DivergenceError(ValueError):
    """Error for a training that has come to nothing: nothing is exported after it, and no checkpoint is saved."""


def first_nonfinite(state: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor with NaN or infinity in it; ``None`` if there is none.

    Args:
        state: Names to tensors of any type; whole numbers are finite.

    >>> first_nonfinite({"a": torch.ones(2), "b": torch.tensor([1.0, float("inf")])})
    'b'
    """
    return next((name for name, tensor in state.items() if not torch.isfinite(tensor).all()), None)


def check_finite(state: Mapping[str, Tensor], where: str, remedy: str, error: type[ValueError] = ValueError) -> None:
    """Refuse weights that are not finite.

    Args:
        state: Names to tensors.
        where: Beginning of the message: the option or file that they belong to.
        remedy: End of the message.
        error: Class of the error.

    Raises:
        ValueError: Names the first such tensor.
    """
    if (bad := first_nonfinite(state)) is not None:
        raise error(f"{where} NaN or infinity in {bad}; {remedy}")


def check_to_write(state: Mapping[str, Tensor], target: str) -> None:
    """Refuse to write weights that are not finite; what is in the target's place stays.

    Args:
        state: Names to tensors.
        target: File or folder, for the message.

    Raises:
        DivergenceError: Names the target and the first such tensor.
    """
    check_finite(
        state,
        f"{target} is not written: the run's weights have",
        "the run diverged: go on from an earlier checkpoint, or start again with a lower learning rate",
        DivergenceError,
    )


def check_weights(parameters: Iterable[Tensor], step: int, rate: float) -> None:
    """Refuse to go on with weights that a step has left without finite values.

    Args:
        parameters: The trained weights.
        step: Number of the step that was made, from 1.
        rate: Its learning rate.

    Raises:
        DivergenceError: Names the step and the remedy.
    """
    norm = torch.nn.utils.get_total_norm([p.detach() for p in parameters])
    if not norm.isfinite():
        raise diverged("the norm of the trained weights", norm, step, rate)


def diverged(what: str, value: Tensor | float, step: int, rate: float) -> DivergenceError:
    """The error that stops a run which no longer computes with finite numbers.

    Args:
        what: Name of the quantity.
        value: Its value.
        step: Number of the step, from 1.
        rate: Its learning rate.
    """
    return DivergenceError(
        f"step {step}: {what} is {float(value):g} at a learning rate of {rate:g}, so the run has diverged and stops; "
        "nothing is exported. Lower model.init_args.optimizer.init_args.lr, and go on from an earlier checkpoint or "
        "start again"
    )
