"""Optimiser steps under float16's loss scale: the norm is the unscaled one, and an overflow skips the step."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)

MAX_SKIPS = 20
"""Steps skipped in a row after which the run stops. Each halves the loss scale, so that torch's first one, 65536, is
down to 1/16: a gradient that overflows there is not float16's fault."""


class LossScale:
    """Loss scale of one run: what the precision plugin multiplied the loss by, and how many steps were skipped for it.

    The gradients stay scaled: ``optimizer.step()`` unscales them in the plugin, for fused optimisers within the
    optimiser itself. Only the norm is unscaled here. Gradients are summed over ranks before, so that an overflow on
    one rank is one on all of them: all skip together, and their scales stay equal.
    """

    def __init__(self) -> None:
        self.skipped_in_a_row = 0
        self._said = False

    def value(self, precision_plugin: Any, device: torch.device) -> float:
        """The factor of the gradients; 1 without a scaler.

        Args:
            precision_plugin: The trainer's.
            device: Device of the weights.
        """
        scaler = getattr(precision_plugin, "scaler", None)
        if scaler is None:
            return 1.0
        scaler.scale(torch.zeros((), device=device))  # set it up where a step without rows scaled no loss
        return scaler.get_scale()

    def skip(self, precision_plugin: Any, optimizer: torch.optim.Optimizer, step: int, norm: Tensor) -> None:
        """Lower the scale after an overflow, instead of a step.

        Args:
            precision_plugin: The trainer's; it has a scaler.
            optimizer: Optimiser whose gradients overflowed.
            step: Number of the step that is skipped, from 1.
            norm: Gradient norm, which is not finite.

        Raises:
            ValueError: After ``MAX_SKIPS`` steps in a row.
        """
        scaler = precision_plugin.scaler
        before = scaler.get_scale()
        scaler.unscale_(optimizer)  # finds the overflow, by which update() lowers the scale
        scaler.update()
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= MAX_SKIPS:
            raise ValueError(
                f"trainer.precision: 16-mixed: step {step} was skipped {MAX_SKIPS} times in a row, since the gradient "
                f"norm is {norm.item():g} even at a loss scale of {before:g}; the weights are those of step "
                f"{step - 1}. Use trainer.precision bf16-mixed or 32-true, or a lower learning rate"
            )
        if not self._said:
            self._said = True
            log.warning(
                "step %d: the gradient overflowed float16 at a loss scale of %g, so the step is skipped and the scale "
                "lowered to %g; a few of these are normal, train/step_skipped shows each",
                step, before, scaler.get_scale(),
            )  # fmt: skip
