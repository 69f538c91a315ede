"""A pretended CUDA device for tests: it computes on the CPU, refuses to mix devices, and counts synchronisations.

A tensor's device is a property of its memory. So a set of storages says which tensors are on the pretended device:

- A function mode answers for every call from Python that names or asks for a device: ``x.device``, ``device=``,
  ``x.to(…)``, ``x.tolist()``.
- A dispatch mode sees every operation that PyTorch runs, forward and backward. Its results are on the device of its
  inputs, and inputs on two devices are an error, as in CUDA's own checks.

PyTorch itself sees CPU tensors, so autograd, checkpointing and ``torch.save`` work as always. What is not pretended:
CUDA graphs (recording one fails, as it does for a model that cannot be recorded), memory, and the order of streams.
"""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack as get_modes

from helpers.pretend_cuda import patch_cuda
from helpers.pretend_modes import Calls, Operations, our_line, tensors_in


class PretendedDevice:
    """A context in which ``torch.device("cuda", 0)`` exists.

    Attributes:
        synchronisations: Number of synchronisations by line of our code and kind, such as
            ``("semalign_pl/engine/generate.py:118", "nonzero")``. A line of a library is counted if no line of ours
            called it.
    """

    def __init__(self) -> None:
        self.synchronisations: Counter[tuple[str, str]] = Counter()
        self._memory: dict[int, StorageWeakRef] = {}
        self._purge_at = 1000
        self._open = contextlib.ExitStack()

    def __enter__(self) -> PretendedDevice:
        start, engine = threading.Thread._bootstrap_inner, torch.autograd._engine_run_backward
        group = torch._C._group_tensors_by_device_and_dtype

        def begin(thread: threading.Thread) -> None:
            # Modes belong to a thread.
            with self._modes():
                start(thread)

        def backward(*args: Any, **kwargs: Any) -> Any:
            # Backward is called from a tensor function, in which the function mode is off; its Python code needs it.
            [operations] = [mode for mode in get_modes() if isinstance(mode, Operations)]
            # Zeros that C++ code makes for gradients that are missing are on the device of the result.
            with Calls(self, operations), operations.on_side_of_inputs(any(map(self.holds, tensors_in(args[0])))):
                return engine(*args, **kwargs)

        def group_by_device(*args: Any) -> Any:
            # C++ code, so it names the CPU; optimisers and clipping copy numbers to the device of a group.
            groups = group(*args).items()
            return {(tensors[0][0].device, dtype): (tensors, places) for (_, dtype), (tensors, places) in groups}

        with contextlib.ExitStack() as stack:
            stack.enter_context(patch.object(torch._C, "_group_tensors_by_device_and_dtype", group_by_device))
            stack.enter_context(patch_cuda(lambda: self.synchronise("synchronize")))
            stack.enter_context(patch.object(threading.Thread, "_bootstrap_inner", begin))
            stack.enter_context(patch.object(torch.autograd, "_engine_run_backward", backward))
            stack.enter_context(self._modes())
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    @contextlib.contextmanager
    def _modes(self) -> Iterator[None]:
        """Both modes, in this thread."""
        with Operations(self) as operations, Calls(self, operations):
            yield

    def holds(self, tensor: Tensor) -> bool:
        """True if a tensor's memory is on the pretended device."""
        return _storage(tensor) in self._memory

    def place(self, tensor: Tensor, on: bool) -> None:
        """Put a tensor's memory on the pretended device, or take it off."""
        key = _storage(tensor)
        if not on:
            self._memory.pop(key, None)
        elif key is not None and key not in self._memory:
            self._memory[key] = StorageWeakRef(tensor.untyped_storage())
            if len(self._memory) > self._purge_at:
                # An address is reused only once its weak reference is gone, so dead ones do no harm until here.
                self._memory = {key: ref for key, ref in self._memory.items() if not ref.expired()}
                self._purge_at = 2 * len(self._memory) + 1000

    def synchronise(self, kind: str) -> None:
        """Count a synchronisation for the line of our code that causes it."""
        self.synchronisations[our_line(), kind] += 1

    def by_line(self) -> dict[str, int]:
        """Number of synchronisations by line and kind, most frequent first."""
        return {f"{line} {kind}": count for (line, kind), count in self.synchronisations.most_common()}


def _storage(tensor: Tensor) -> int | None:
    """Address that identifies a tensor's memory; ``None`` if it has none."""
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):  # a sparse tensor, or a wrapper of functorch
        return None
