"""Functions of ``torch.cuda`` for the pretended device: what Lightning, transformers and the package call of them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from transformers.utils import import_utils


class _Stream:
    """A stream on which everything is done at once."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def wait_stream(self, stream: Any) -> None:
        pass


class _Graph:
    """A graph of CUDA, which cannot be recorded: decoding then runs its steps one by one."""

    def __init__(self) -> None:
        _cannot_record()


def _cannot_record(*_: Any, **__: Any) -> Any:
    raise RuntimeError("the pretended device records no graphs")


def _forget_devices() -> None:
    """Make transformers look again for devices."""
    for name, function in vars(import_utils).items():
        if name.startswith(("is_torch_", "is_cuda_")) and hasattr(function, "cache_clear"):
            function.cache_clear()


@contextlib.contextmanager
def _autocast_on_cpu() -> Iterator[None]:
    """Let autocast for CUDA act on the CPU too, where everything is computed."""
    enter, leave = torch.autocast.__enter__, torch.autocast.__exit__

    def enter_both(self: Any) -> Any:
        if self.device == "cuda":
            self.on_cpu = torch.autocast("cpu", self.fast_dtype, self._enabled, self._cache_enabled)
            enter(self.on_cpu)
        return enter(self)

    def leave_both(self: Any, *error: Any) -> Any:
        result = leave(self, *error)
        if self.device == "cuda":
            leave(self.on_cpu, *error)
        return result

    with patch.object(torch.autocast, "__enter__", enter_both), patch.object(torch.autocast, "__exit__", leave_both):
        yield


@contextlib.contextmanager
def patch_cuda(synchronise: Callable[[], None]) -> Iterator[None]:
    """Replace the functions that need a real device.

    Args:
        synchronise: Called by ``torch.cuda.synchronize``.
    """
    replaced: dict[str, Any] = {
        "torch.cuda.synchronize": lambda device=None: synchronise(),
        "torch.cuda.Stream": _Stream,
        "torch.cuda.current_stream": _Stream,
        "torch.cuda.stream": lambda stream: contextlib.nullcontext(),
        "torch.cuda.CUDAGraph": _Graph,
        "torch.cuda.graph_pool_handle": lambda: (0, 0),
        "torch.cuda.get_rng_state": lambda device=None: torch.get_rng_state(),
        "torch.cuda.set_rng_state": lambda state, device=None: None,
        "torch.cuda.current_device": lambda: 0,
        "torch.cuda.is_available": lambda: True,
        "torch.cuda.is_bf16_supported": lambda including_emulation=True: True,
        "torch.cuda.get_device_capability": lambda device=None: (9, 0),
        "torch.cuda.get_device_name": lambda device=None: "pretended device",
        "torch.cuda.get_device_properties": lambda device=None: SimpleNamespace(
            name="pretended device", total_memory=2**34, major=9, minor=0
        ),
        "torch.cuda.device_count": lambda: 1,
        "torch.cuda.mem_get_info": lambda device=None: (2**34, 2**34),
        "torch.cuda.set_device": lambda device: None,
    }
    _forget_devices()
    with contextlib.ExitStack() as stack:
        stack.callback(_forget_devices)
        stack.enter_context(_autocast_on_cpu())
        for name, value in replaced.items():
            stack.enter_context(patch(name, value))
        stack.enter_context(patch("torch.cuda.memory._cuda_endAllocateToPool", _cannot_record, create=True))
        yield
