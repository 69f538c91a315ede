"""Keep modules that are trained as a whole (PEFT's ``modules_to_save``) in float32, like every adapter weight."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def keep_in_float32(model: nn.Module) -> bool:
    """Cast trained copies of modules to float32; their inputs and outputs keep the base's precision.

    PEFT casts LoRA's weights but not these, and an optimiser loses small updates of bfloat16 weights.

    Args:
        model: PEFT model; changed in place.

    Returns:
        True if a module was cast. Its values must then be loaded again, because they were rounded when it was built.
    """
    from peft.utils.other import ModulesToSaveWrapper

    copies = [
        copy
        for wrapper in model.modules()
        if isinstance(wrapper, ModulesToSaveWrapper)
        for copy in wrapper.modules_to_save.values()
    ]
    lower = {copy: p.dtype for copy in copies for p in copy.parameters() if p.dtype in (torch.bfloat16, torch.float16)}
    for copy, dtype in lower.items():
        copy.float()
        copy.register_forward_pre_hook(lambda _, inputs: _cast(inputs, torch.float32))
        copy.register_forward_hook(lambda _, __, output, dtype=dtype: _cast(output, dtype))
    return bool(lower)


def _cast(values: Any, dtype: torch.dtype) -> Any:
    if isinstance(values, tuple):
        return tuple(_cast(value, dtype) for value in values)
    return values.to(dtype) if isinstance(values, Tensor) and values.is_floating_point() else values
