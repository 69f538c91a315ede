"""Optimisers (Muon for matrices, AdamW for the rest), the learning rate schedule, and casts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


class Muon(torch.optim.Optimizer):
    """``torch.optim.Muon`` with Nesterov momentum and ``match_rms_adamw``, in float32.

    PyTorch's orthogonalises in bfloat16, which takes many times as long on CPUs without such instructions.

    Args:
        params: Matrices to train.
        lr: Learning rate.
        weight_decay: Decoupled weight decay.
        momentum: Momentum of the gradients.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float = 0.01, momentum: float = 0.95) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update the parameters that have gradients.

        Args:
            closure: Must be ``None``.
        """
        assert closure is None
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                mean = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                mean.lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonalise(weight.grad.lerp(mean, group["momentum"]))
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-0.2 * math.sqrt(max(weight.shape)) * group["lr"])


def orthogonalise(matrix: Tensor) -> Tensor:
    """Matrix with about the same singular vectors and singular values near 1, by five Newton-Schulz iterations.

    Args:
        matrix: Matrix ``(rows, columns)``.
    """
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(5):
        gram = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * gram + 2.0315 * gram @ gram) @ wide
    return wide.T if matrix.shape[0] > matrix.shape[1] else wide


def optimizers(model: nn.Module, lr: float) -> list[torch.optim.Optimizer]:
    """Create the optimisers of a model: Muon for hidden matrices, AdamW for embeddings and all other parameters."""
    hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name and p.requires_grad]
    chosen = {id(p) for p in hidden}
    rest = [p for p in model.parameters() if id(p) not in chosen and p.requires_grad]
    return [
        Muon(hidden, lr),
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def place(model: nn.Module, device: torch.device) -> None:
    """Move a model to a device, in train mode."""
    model.to(device).train()


def mixed_precision(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16 where the device multiplies in it; other CPUs emulate it, which is slower than float32.

    Args:
        device: Device to train on.
    """
    cpu = torch.cpu.get_capabilities()
    native = device.type != "cpu" or any(cpu.get(name) for name in ("avx512_bf16", "amx_bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=native)


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
