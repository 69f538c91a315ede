"""Parameter groups of the optimiser: rows of new tokens may have a learning rate of their own."""

from __future__ import annotations

from collections.abc import Iterable

from torch.nn import Parameter

Groups = list[Parameter] | list[dict[str, object]]
"""First argument of an optimiser: parameters, or groups of parameters with options of their own."""
_ROWS = ".trainable_tokens_delta."


def parameter_groups(named: Iterable[tuple[str, Parameter]], rows_lr: float | None) -> Groups:
    """Group the trained parameters of a policy.

    A new row starts as the mean of its pieces and is far from its end, while LoRA's factors start at the base.

    Args:
        named: Parameters by name.
        rows_lr: Learning rate of the rows of new tokens; ``None`` for that of all others.

    Returns:
        One list of parameters without ``rows_lr``; else two groups, of which the rows are the second. A policy without
        such rows has one group.
    """
    trained = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    rows = [parameter for name, parameter in trained if _ROWS in name]
    if rows_lr is None or not rows:
        return [parameter for _, parameter in trained]
    others = [parameter for name, parameter in trained if _ROWS not in name]
    return [{"params": others}, {"params": rows, "lr": rows_lr}]
