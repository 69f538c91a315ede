"""RMS norms as one kernel on CUDA: transformers computes them in eight operations, PyTorch in one."""

from __future__ import annotations

import copy
import inspect
import types
from typing import Protocol

import torch
from torch import Tensor, nn

SMALL = 1e-3
"""Scale of the inputs that tell an epsilon from another: their mean square is about 1e-6."""


class _Norm(Protocol):
    """The members of an RMS norm of transformers."""

    weight: Tensor
    fused_epsilon: float

    def forward(self, x: Tensor) -> Tensor: ...


def fast_norm_forward(model: nn.Module) -> None:
    """Replace the forward of RMS norms that compute what PyTorch's ``rms_norm`` does (arXiv 1910.07467, equation 4).

    The forward changes on CUDA only: PyTorch has no fused kernel for the CPU. It computes in float32 and rounds once,
    where transformers rounds before it multiplies by the weight.

    Args:
        model: Model of transformers; changed in place.
    """
    for norm in model.modules():
        epsilon = epsilon_of(norm)
        if epsilon is not None:
            setattr(norm, "fused_epsilon", epsilon)  # noqa: B010  (torch types attributes as tensors)
            norm.forward = types.MethodType(_forward, norm)


def epsilon_of(norm: nn.Module) -> float | None:
    """Epsilon of a norm that equals ``weight * x / rms(x)``; ``None`` for any other module.

    The name of a class does not tell: Gemma's adds 1 to the weight. So the class is run once on random numbers.

    Args:
        norm: Module of a model.
    """
    epsilon = next((e for e in (getattr(norm, n, None) for n in ("variance_epsilon", "eps")) if e is not None), None)
    names = [name for name, _ in (*norm.named_parameters(), *norm.named_buffers())]
    if "RMSNorm" not in type(norm).__name__ or names != ["weight"] or not isinstance(epsilon, float):
        return None
    if len(inspect.signature(norm.forward).parameters) != 1:  # a gate too, as in recurrent layers
        return None
    return epsilon if norm.get_parameter("weight").ndim == 1 and _equals_rms_norm(norm, epsilon) else None


def _equals_rms_norm(norm: nn.Module, epsilon: float) -> bool:
    """Compare a copy of a norm with PyTorch's on random numbers, on the CPU in float32."""
    trial, draw = copy.deepcopy(norm).to_empty(device="cpu").float(), torch.Generator().manual_seed(0)
    # The device is named, because Lightning loads models under another default device.
    weight = torch.randn(trial.get_parameter("weight").shape, generator=draw, device="cpu")
    x = SMALL * torch.randn((4, len(weight)), generator=draw, device="cpu")
    trial.load_state_dict({"weight": weight})
    with torch.no_grad():
        found = trial(x)
    return torch.allclose(found, nn.functional.rms_norm(x, weight.shape, weight, epsilon), rtol=1e-4, atol=1e-6)


def has_kernel(x: Tensor) -> bool:
    """Return true if PyTorch has a fused kernel for these inputs.

    Args:
        x: Inputs of a norm.
    """
    return x.is_cuda


def _forward(self: _Norm, x: Tensor) -> Tensor:
    if not has_kernel(x) or x.dtype != self.weight.dtype:
        return type(self).forward(self, x)
    # Newer versions of autocast return float32.
    return nn.functional.rms_norm(x, self.weight.shape, self.weight, self.fused_epsilon).to(x.dtype)
