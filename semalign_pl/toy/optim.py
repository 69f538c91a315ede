"""Optimisers (Muon for matrices, AdamW for the rest), the learning rate schedule, and casts of whole models."""

from __future__ import annotations

import torch
from torch import nn


def optimizers(model: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Create the optimisers of a model: Muon for hidden matrices, AdamW for embeddings and all other parameters."""
    hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name and p.requires_grad]
    chosen = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in chosen and p.requires_grad]
    return [
        torch.optim.Muon(hidden, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def place(model: nn.Module, device: torch.device) -> None:
    """Move a model to a device, in train mode."""
    model.to(device).train()


def halve(model: nn.Module) -> None:
    """Round a model's weights to bfloat16 and move it to the CPU."""
    model.cpu().to(torch.bfloat16)


def scale(done: float) -> float:
    """Factor on the learning rate after a share ``done`` of the run: linear warmup, constant, linear decay to 0.01."""
    return min(done / 0.02, 1.0, max((1.0 - done) / 0.4, 0.01))


def step(model: nn.Module, opts: list[torch.optim.Optimizer], lr: float) -> None:
    """Clip gradients to norm 1, update the parameters, and clear the gradients.

    Args:
        model: Model with gradients.
        opts: Optimisers of the model.
        lr: Learning rate of this step.
    """
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for opt in opts:
        for group in opt.param_groups:
            group["lr"] = lr
        opt.step()
        opt.zero_grad(set_to_none=True)
