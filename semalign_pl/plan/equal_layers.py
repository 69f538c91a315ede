"""Peak memory of a decoder of equal layers from runs of three and of four of them, exact to the byte.

In a decoder of equal layers, every layer runs the same operations. The bytes alive after one of these operations are
therefore linear in the layer's index and in the number of layers, so over the inner layers their maximum is at the
first or at the last one. Hence the peak is the maximum over the operations of the first two layers, of the last two,
and of those outside the layers. Two runs give the line of each. The peaks of the two runs alone would not be enough: in
the whole decoder, another operation may be the largest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor, nn

from semalign_pl.plan.tracker import PeakBytes

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FEW = 3
"""Number of layers of the smaller run: the first, an inner one, and the last."""
SAME_PLACE = ((None, None), (0, 0), (1, 1), (1, 2), (2, 3))
"""Places of an operation in the runs of three and of four layers, counted from the first layer or from the last."""


def peak_bytes(decoder: PreTrainedModel, run: Callable[[PeakBytes], int]) -> tuple[int, int]:
    """Peak of a run of the whole decoder, and the bytes that it holds at the end.

    Args:
        decoder: Decoder on the meta device.
        run: Function that runs the decoder, enters the tracker it is given, and returns the bytes held at the end.

    Returns:
        Peak and held bytes.
    """
    total = equal_layers(decoder)
    if total > FEW + 1:
        try:
            few, more = (_run_few(decoder, count, run) for count in (FEW, FEW + 1))
        except Exception:  # an unknown architecture may need all its layers; if it fails with them too, it says so
            extrapolated = None
        else:
            extrapolated = _extrapolate(few, more, total - FEW)
        if extrapolated is not None:
            return extrapolated
    memory = PeakBytes()
    held = run(memory)
    return memory.peak, held


def equal_layers(decoder: PreTrainedModel) -> int:
    """Number of a decoder's layers if all are equal in modules, weights and settings; 0 if they are not.

    Args:
        decoder: Decoder of transformers, with adapters.
    """
    name = _layers_name(decoder)
    if name is None:
        return 0
    layers = getattr(decoder, name)
    lists = [v for v in vars(decoder.config).values() if isinstance(v, (list, tuple)) and len(v) == len(layers)]
    if any(entry != values[0] for values in lists for entry in values):  # one setting per layer
        return 0
    first = _describe(layers[0])
    return len(layers) if all(_describe(layer) == first for layer in layers[1:]) else 0


@contextmanager
def first_layers(decoder: PreTrainedModel, count: int) -> Iterator[None]:
    """Leave a decoder only its first layers; restored on exit, also after an exception.

    Args:
        decoder: Decoder whose layers are equal.
        count: Number of layers to leave.
    """
    name = _layers_name(decoder)
    assert name is not None
    layers = getattr(decoder, name)
    setattr(decoder, name, nn.ModuleList(list(layers)[:count]))
    try:
        yield
    finally:
        setattr(decoder, name, layers)


def _run_few(decoder: PreTrainedModel, count: int, run: Callable[[PeakBytes], int]) -> tuple[PeakBytes, int]:
    """Run the first layers, and note in which layer memory is allocated."""
    memory = PeakBytes()
    with first_layers(decoder, count):
        layers: nn.ModuleList = getattr(decoder, _layers_name(decoder) or "")
        hooks = []
        for index, layer in enumerate(layers):
            enter = partial(_enter, memory, index)
            hooks.append(layer.register_forward_pre_hook(enter))
            hooks.append(layer.register_forward_hook(partial(_enter_in_backward, enter)))
        try:
            return memory, run(memory)
        finally:
            for hook in hooks:
                hook.remove()


def _enter(memory: PeakBytes, index: int, *_: object) -> None:
    memory.place = index


def _enter_in_backward(enter: Callable[..., None], layer: nn.Module, inputs: object, output: object) -> None:
    """Enter the layer again when the gradient of its output is known."""
    states = output[0] if isinstance(output, tuple) else output
    if isinstance(states, Tensor) and states.requires_grad:
        states.register_hook(enter)


def _extrapolate(few: tuple[PeakBytes, int], more: tuple[PeakBytes, int], further: int) -> tuple[int, int] | None:
    """Peak and held bytes with ``further`` layers more than ``few``; ``None`` if the two runs differ in operations."""
    peak = 0
    for place, same in SAME_PLACE:
        fewer, larger = few[0].allocations.get(place, []), more[0].allocations.get(same, [])
        if [size for size, _ in fewer] != [size for size, _ in larger]:
            return None
        lives = (low + further * (high - low) for (_, low), (_, high) in zip(fewer, larger, strict=True))
        peak = max(peak, max(lives, default=0))
    return peak, few[1] + further * (more[1] - few[1])


def _layers_name(decoder: PreTrainedModel) -> str | None:
    """Attribute that holds the decoder's layers, or ``None`` if that is not clear."""
    lists = [name for name, child in decoder.named_children() if isinstance(child, nn.ModuleList)]
    return lists[0] if len(lists) == 1 else None


def _describe(layer: nn.Module) -> list[object]:
    """Everything that a layer's memory depends on: modules, their settings, shapes of weights and buffers."""
    tensors = [*layer.named_parameters(), *layer.named_buffers()]
    return [
        *((name, type(module), _settings(vars(module))) for name, module in layer.named_modules()),
        *((name, tensor.shape, tensor.dtype, tensor.requires_grad) for name, tensor in tensors),
    ]


def _settings(values: Mapping[str, object]) -> dict[str, object]:
    """Numbers, flags and names among a module's attributes, except the layer's index."""
    plain = (bool, int, float, str, type(None))
    found: dict[str, object] = {}
    for name, value in values.items():
        entries = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else [value]
        if name != "layer_idx" and all(isinstance(entry, plain) for entry in entries):
            found[name] = value
    return found
