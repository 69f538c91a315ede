"""Loss scale of float16 training: the unscaled gradient norm, and steps skipped after an overflow."""

from __future__ import annotations

import logging

import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

log = logging.getLogger(__name__)

MAX_SKIPS = 20
"""Number of consecutive skipped steps after which the run stops. Each skip halves the loss scale. After 20, torch's
initial scale of 65536 is down to 1/16, and a gradient that overflows there is not float16's fault."""


def scaler_of(precision_plugin: Precision) -> GradScaler | None:
    """Scaler of the loss; ``None`` unless the run trains in float16 (``precision: 16-mixed``).

    Args:
        precision_plugin: Precision plugin of the trainer.
    """
    return precision_plugin.scaler if isinstance(precision_plugin, MixedPrecision) else None


class LossScale:
    """Loss scale of one run: the factor by which the precision plugin multiplied the loss, and the steps it skipped.

    The gradients stay scaled: the plugin unscales them in ``optimizer.step()``, or a fused optimiser does so itself.
    Only the norm is unscaled here. Gradients are summed over ranks first, so an overflow on one rank is an overflow on
    all of them. All ranks skip together, and their scales stay equal.

    Attributes:
        skipped_in_a_row: Number of steps skipped since the last one that was made.
    """

    def __init__(self) -> None:
        self.skipped_in_a_row = 0
        self._warned = False

    def value(self, scaler: GradScaler | None, device: torch.device) -> float:
        """Factor on the gradients; 1 without a scaler.

        Args:
            scaler: Scaler of the loss, from ``scaler_of``.
            device: Device of the weights.
        """
        if scaler is None:
            return 1.0
        scaler.scale(torch.zeros((), device=device))  # initialises the scaler if a step without rows scaled no loss
        return scaler.get_scale()

    def skip(self, scaler: GradScaler, optimizer: torch.optim.Optimizer, step: int, norm: Tensor) -> None:
        """Lower the scale after an overflow instead of making a step.

        Args:
            scaler: Scaler of the loss.
            optimizer: Optimiser whose gradients overflowed.
            step: Number of the skipped step, from 1.
            norm: Gradient norm, which is not finite.

        Raises:
            ValueError: After ``MAX_SKIPS`` consecutive skips.
        """
        before = scaler.get_scale()
        scaler.unscale_(optimizer)  # records the overflow, so that update() lowers the scale
        scaler.update()
        self.skipped_in_a_row += 1
        if self.skipped_in_a_row >= MAX_SKIPS:
            raise ValueError(
                f"trainer.precision: 16-mixed: step {step} was skipped {MAX_SKIPS} times in a row, since the gradient "
                f"norm is {norm.item():g} even at a loss scale of {before:g}; the weights are those of step "
                f"{step - 1}. Use trainer.precision bf16-mixed or 32-true, or a lower learning rate"
            )
        if not self._warned:
            self._warned = True
            log.warning(
                "step %d: the gradient overflowed float16 at a loss scale of %g, so the step is skipped and the scale "
                "lowered to %g; a few of these are normal, train/step_skipped shows each",
                step, before, scaler.get_scale(),
            )  # fmt: skip
