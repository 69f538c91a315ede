"""Parameter groups of the optimiser: rows of new tokens and partly frozen factors have options of their own."""

from __future__ import annotations

from collections.abc import Iterable

from torch.nn import Parameter

Groups = list[Parameter] | list[dict[str, object]]
"""First argument of an optimiser: parameters, or groups of parameters with options of their own."""
_ROWS, _LORA = ".trainable_tokens_delta.", ".lora_"


def parameter_groups(
    named: Iterable[tuple[str, Parameter]], rows_lr: float | None = None, half_frozen: bool = False
) -> Groups:
    """Group the trained parameters of a policy.

    A new row starts as the mean of its pieces and is far from its end, while LoRA's factors start at the base. Weight
    decay would move the frozen half of a factor, which has no gradient.

    Args:
        named: Parameters by name.
        rows_lr: Learning rate of the rows of new tokens; ``None`` for that of all others.
        half_frozen: True if LoRA's factors are partly frozen, so that they get no weight decay.

    Returns:
        All trained parameters, if none has options of its own. Else the groups that are not empty: first those without
        options, then LoRA's factors, then rows.
    """
    options: dict[str, dict[str, object]] = {"": {}}
    if half_frozen:
        options[_LORA] = {"weight_decay": 0.0}
    if rows_lr is not None:
        options[_ROWS] = {"lr": rows_lr}
    groups: dict[str, list[Parameter]] = {mark: [] for mark in options}
    for name, parameter in named:
        if parameter.requires_grad:
            groups[next(mark for mark in reversed(options) if mark in name)].append(parameter)
    if not any(groups[mark] for mark in options if mark):
        return groups[""]
    return [{"params": groups[mark], **options[mark]} for mark in options if groups[mark]]
