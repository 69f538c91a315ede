"""Muon for the matrices, AdamW for the rest, a schedule that warms up, stays and falls, and casts of whole models."""

from __future__ import annotations

import torch
from torch import nn


def optimizers(model: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Both optimisers over the model's parameters."""
    hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name and p.requires_grad]
    chosen = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in chosen and p.requires_grad]
    return [
        torch.optim.Muon(hidden, lr=lr, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def place(model: nn.Module, device: torch.device) -> None:
    """Put the model on the device, ready to train."""
    model.to(device).train()


def halve(model: nn.Module) -> None:
    """Round the weights to bfloat16, on the CPU."""
    model.cpu().to(torch.bfloat16)


def scale(done: float) -> float:
    """The learning rate's factor after a share ``done`` of the run."""
    return min(done / 0.02, 1.0, max((1.0 - done) / 0.4, 0.01))


def step(model: nn.Module, opts: list[torch.optim.Optimizer], lr: float) -> None:
    """One clipped step of every optimiser."""
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for opt in opts:
        for group in opt.param_groups:
            group["lr"] = lr
        opt.step()
        opt.zero_grad(set_to_none=True)
