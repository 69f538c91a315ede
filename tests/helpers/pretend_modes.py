"""Modes of PyTorch that let tensors be on the pretended device (helpers/pretend_device.py)."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from helpers.pretend_device import PretendedDevice

ROOT = Path(__file__).parents[2]
PRETENDED = torch.device("cuda", 0)
CPU = torch.device("cpu")
aten = torch.ops.aten

INDEXED = {
    aten.index.Tensor, aten._unsafe_index.Tensor, aten.index_put.default, aten.index_put_.default,
    aten._index_put_impl_.default, aten._unsafe_index_put.default,
}  # fmt: skip
"""Operations whose index tensors may be on the CPU."""
COPIES = {aten.copy_.default, aten._to_copy.default, aten.set_.source_Tensor}
"""Operations that may read from one device and write to another."""
JOINS = {aten.cat.default, aten.stack.default}
"""Operations that take no number on the CPU for one on the device."""
SYNCHRONISING = {
    aten._local_scalar_dense.default: "item",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten.equal.default: "equal",
    aten.bincount.default: "bincount",
    aten._unique2.default: "unique",
    aten.unique_dim.default: "unique",
    aten.unique_consecutive.default: "unique_consecutive",
    aten.unique_dim_consecutive.default: "unique_consecutive",
}
"""Operations for which the CPU waits for the device, because the result's value or shape is needed."""


class MixedDevices(RuntimeError):
    """Tensors of two devices in one operation."""


class Operations(TorchDispatchMode):
    """Give the results of each operation a device, check its inputs', and count synchronisations."""

    def __init__(self, device: PretendedDevice) -> None:
        super().__init__()
        self.device = device
        self.side = False  # side of results of operations without tensors: that of the calling function's inputs

    @contextlib.contextmanager
    def on_side_of_inputs(self, side: bool = False) -> Iterator[None]:
        before, self.side = self.side, side
        try:
            yield
        finally:
            self.side = before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        target = self._take_device(kwargs)
        inputs = list(tensors_in((args, kwargs)))
        sides = [self.device.holds(x) for x in inputs]
        if any(sides):
            self._count(func, args, kwargs)
            if not all(sides) and func not in COPIES:
                self._check(func, args, kwargs)
        elif not inputs and self.side:
            sides = [True]
        result = func(*args, **kwargs)
        if func is aten.copy_.default:
            self._count_copy(*args[:2])
        elif target is not None or any(sides):
            on = any(sides) if target is None else target
            for x in tensors_in(result):
                # An in-place operation changes no device; a view of memory that moved would move the original.
                if not any(x is given for given in inputs):
                    self.device.place(x, on)
        return result

    def _take_device(self, kwargs: dict[str, Any]) -> bool | None:
        """Replace the pretended device by the CPU; returns true if it was named, and ``None`` if no device was."""
        if kwargs.get("device") is None or torch.device(kwargs["device"]).type != "cuda":
            return None  # C++ code names the CPU for `x.options()`, which is the pretended device's too
        kwargs["device"] = CPU
        return True

    def _check(self, func: Any, args: Any, kwargs: Any) -> None:
        """Raise for inputs on two devices, except where CUDA allows it: indices, and numbers as 0-d tensors."""
        held = self.device.holds
        if func in INDEXED and held(args[0]):
            args = (args[0], *args[2:])
        written = [
            value for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]  # fmt: skip
        inputs = list(tensors_in((args, kwargs)))
        strangers = [x for x in inputs if not held(x) and (x.dim() or func in JOINS)]
        strangers += [x for x in tensors_in(written) if not held(x)]
        if strangers:
            given = ", ".join(f"{_name(x, held(x))}" for x in inputs)
            raise MixedDevices(f"{our_line()}: {func} got tensors on two devices: {given}")

    def _count(self, func: Any, args: Any, kwargs: Any) -> None:
        if func in SYNCHRONISING:
            if func is aten.equal.default or self.device.holds(args[0]):
                self.device.synchronise(SYNCHRONISING[func])
        elif func is aten.repeat_interleave.Tensor:
            if kwargs.get("output_size") is None:
                self.device.synchronise("repeat_interleave without output_size")
        elif func in INDEXED:
            masks = [x for x in tensors_in(args[1]) if x.dtype in (torch.bool, torch.uint8) and self.device.holds(x)]
            # One value at a mask is a masked_fill.
            fills = "put" in func.__name__ and args[2].numel() == 1 and len(args[1]) == 1
            if masks and not fills:
                self.device.synchronise("boolean index")

    def _count_copy(self, to: Tensor, source: Tensor) -> None:
        if self.device.holds(source) and not self.device.holds(to):
            self.device.synchronise("copy to the CPU")


class Calls(TorchFunctionMode):
    """Answer calls from Python that name a device, or read a tensor's memory without an operation."""

    def __init__(self, device: PretendedDevice, operations: Operations) -> None:
        super().__init__()
        self.device, self.operations = device, operations
        self.handlers = {
            torch.Tensor.device.__get__: lambda x: PRETENDED if device.holds(x) else x.device,
            torch.Tensor.is_cuda.__get__: lambda x: device.holds(x),
            torch.Tensor.is_cpu.__get__: lambda x: x.is_cpu and not device.holds(x),
            torch.Tensor.get_device: lambda x: 0 if device.holds(x) else x.get_device(),
            torch.Tensor.to: self._to,
            torch.Tensor.cpu: lambda x, *_, **__: self.move(x, on=False),
            torch.Tensor.cuda: lambda x, *_, **__: self.move(x, on=True),
            torch.Tensor.pin_memory: lambda x, *_: x,
            torch.Tensor.is_pinned: lambda x, *_: False,
            torch.Tensor.tolist: self._to_list,
            torch.Tensor.numpy: self._numpy,
            torch.Tensor.__array__: self._numpy,
            torch.Tensor.__deepcopy__: self._deepcopy,
            torch.tensor: self._new,
            torch.as_tensor: self._as_tensor,
            torch.asarray: self._as_tensor,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in self.handlers:
            return self.handlers[func](*args, **kwargs)
        kwargs.pop("pin_memory", None)  # memory that a real device copies from faster
        if kwargs.get("device") is None:
            with self.operations.on_side_of_inputs(any(map(self.device.holds, tensors_in((args, kwargs))))):
                return func(*args, **kwargs)
        on = torch.device(kwargs["device"]).type
        if on not in ("cpu", "cuda"):
            return func(*args, **kwargs)
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type != on:
            raise MixedDevices(f"{our_line()}: {func.__name__} on {on} got a generator of {generator.device}")
        result = func(*args, **{**kwargs, "device": CPU})
        for x in tensors_in(result):
            self.device.place(x, on == "cuda")
        return result

    def move(self, x: Tensor, on: bool) -> Tensor:
        """The tensor on a side: itself, or a copy."""
        if x.is_meta or self.device.holds(x) == on:
            return x
        if not on:
            self.device.synchronise("copy to the CPU")
        return _Copy.apply(x, self, on)  # pyright: ignore[reportReturnType]

    def _to(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args and isinstance(args[0], Tensor) or "other" in kwargs:
            other = args[0] if args else kwargs["other"]
            return self.move(x.to(other.dtype), self.device.holds(other))
        copy = kwargs.pop("copy", False)
        device, dtype, _, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        if device is not None and device.type not in ("cpu", "cuda"):
            return x.to(device, dtype)
        options = {} if memory_format is None else {"memory_format": memory_format}
        result = x.to(dtype=dtype or x.dtype, copy=copy, **options)
        return result if device is None else self.move(result, device.type == "cuda")

    def _to_list(self, x: Tensor) -> Any:
        if self.device.holds(x):
            self.device.synchronise("tolist")
        return x.tolist()

    def _numpy(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if self.device.holds(x):
            raise TypeError(f"{our_line()}: cannot convert a tensor on {PRETENDED} to numpy; use Tensor.cpu() first")
        return x.__array__(*args) if args else x.numpy(**kwargs)

    def _deepcopy(self, x: Tensor, memo: Any) -> Tensor:
        result = x.__deepcopy__(memo)
        self.device.place(result, self.device.holds(x))
        return result

    def _new(self, data: Any, dtype: Any = None, device: Any = None, **kwargs: Any) -> Tensor:
        held = [x for x in tensors_in(data) if self.device.holds(x)]
        on = isinstance(data, Tensor) and bool(held)
        if held and not on:
            self.device.synchronisations[our_line(), "tensor of tensors"] += len(held)
        on = on if device is None else torch.device(device).type == "cuda"
        kwargs.pop("pin_memory", None)
        with self.operations.on_side_of_inputs():
            result = torch.tensor(data, dtype=dtype, device=_real(device), **kwargs)
        self.device.place(result, on)
        return result

    def _as_tensor(self, data: Any, dtype: Any = None, device: Any = None, **kwargs: Any) -> Tensor:
        if not isinstance(data, Tensor):
            return self._new(data, dtype, device, **kwargs)
        target = torch.device(device) if device is not None else PRETENDED if self.device.holds(data) else data.device
        return self._to(data, target, dtype or data.dtype)


class _Copy(torch.autograd.Function):
    """A copy on the other device, whose gradient is copied back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, calls: Calls, on: bool) -> Tensor:
        ctx.calls, ctx.on = calls, on
        with torch._C.DisableTorchFunction():
            result = x.clone()
        calls.device.place(result, on)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return ctx.calls.move(gradients[0], not ctx.on), None, None


def _real(device: Any) -> torch.device:
    """Device to compute on."""
    return CPU if device is None or torch.device(device).type == "cuda" else torch.device(device)


def tensors_in(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        for value in values.values():
            yield from tensors_in(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from tensors_in(value)


def _name(x: Tensor, held: bool) -> str:
    return f"{tuple(x.shape)} on {PRETENDED if held else x.device}"


def our_line() -> str:
    """The innermost line of the package on the stack, with a library's that it called; else a library's alone."""
    frame, library = sys._getframe(1), ""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(f"{ROOT}/semalign_pl/"):
            return f"{Path(file).relative_to(ROOT)}:{frame.f_lineno}{library and f' in {library}'}"
        if not library and "/torch/" not in file and "/helpers/pretend_" not in file and not file.startswith("<"):
            library = f"{'/'.join(Path(file).parts[-2:])}:{frame.f_lineno}"
        frame = frame.f_back
    return library
