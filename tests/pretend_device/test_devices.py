"""The pretended device itself: planted faults in forward and backward are found, with the line that makes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.pretend_device import PretendedDevice
from helpers.pretend_modes import CPU, PRETENDED, MixedDevices
from torch import Tensor


class MixedInBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * torch.ones(4)


class WaitsInBackward(MixedInBackward):
    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] if gradients[0].sum() > 0 else gradients[0]


def vectors() -> Tensor:
    return torch.ones(3, 4, device=PRETENDED, requires_grad=True)


@pytest.mark.parametrize(
    "plant",
    [
        lambda x: x + torch.ones(4),
        lambda x: x.sum() + torch.ones(4),
        lambda x: torch.stack([x[0, 0], torch.tensor(1.0)]),
        lambda x: torch.zeros(3, 4).add_(x.detach()),
        lambda x: torch.zeros(()).add_(x.detach().sum()),
        lambda x: torch.ones(3, 4)[torch.zeros(1, dtype=torch.long, device=PRETENDED)],
        lambda x: x.gather(1, torch.zeros(3, 1, dtype=torch.long)),
        lambda x: torch.nn.functional.embedding(torch.zeros(1, dtype=torch.long), x),
        lambda x: torch.rand(3, device=PRETENDED, generator=torch.Generator()),
        lambda x: torch.nn.Linear(4, 2)(x),
        lambda x: MixedInBackward.apply(x).sum().backward(),
    ],
)
def test_tensors_of_two_devices_are_an_error_of_that_line(plant: Callable[[Tensor], object]) -> None:
    with PretendedDevice() as device, pytest.raises(MixedDevices) as raised:
        plant(vectors())
    line = int(str(raised.value).split("test_devices.py:")[1].split(":")[0])
    in_backward = MixedInBackward.backward.__code__.co_firstlineno + 2
    assert line == (in_backward if "apply" in plant.__code__.co_names else plant.__code__.co_firstlineno)
    assert not device.synchronisations


@pytest.mark.parametrize(
    ("plant", "kinds"),
    [
        (lambda x: x[0, 0].item(), ["item"]),
        (lambda x: bool(x[0, 0] > 0), ["item"]),
        (lambda x: list(range(int(x[0, 0]))), ["item"]),
        (lambda x: x.tolist(), ["tolist"]),
        (lambda x: x.cpu().tolist(), ["copy to the CPU"]),
        (lambda x: x.to("cpu", torch.float64), ["copy to the CPU"]),
        (lambda x: torch.zeros(3, 4).copy_(x.detach()), ["copy to the CPU"]),
        (lambda x: (x > 0).nonzero(), ["nonzero"]),
        (lambda x: torch.where(x > 0), ["nonzero"]),
        (lambda x: x[x > 0], ["boolean index"]),
        (lambda x: x.detach()[0].unique(), ["unique"]),
        (lambda x: torch.equal(x, x + 1), ["equal"]),
        (lambda x: torch.tensor([x[0, 0], x[0, 1]]), ["tensor of tensors"]),
        (lambda x: x.repeat_interleave((x[:, 0]).long(), 0), ["repeat_interleave without output_size"]),
        (lambda x: torch.cuda.synchronize(), ["synchronize"]),
        (lambda x: WaitsInBackward.apply(x).sum().backward(), ["item"]),
        # None of these waits:
        (lambda x: x + 1.5 * torch.tensor(2.0), []),
        (lambda x: x[torch.tensor([0, 2])], []),
        (lambda x: x.detach().masked_fill_(x > 2, 0.0)[:, 1:], []),
        (lambda x: x.detach().clone().__setitem__(x > 2, 0.0), []),
        (lambda x: x.repeat_interleave(2, 0), []),
        (lambda x: torch.nn.functional.cross_entropy(x, torch.zeros(3, dtype=torch.long).to(PRETENDED)).backward(), []),
    ],
)
def test_synchronisations_are_counted_by_line(plant: Callable[[Tensor], object], kinds: list[str]) -> None:
    with PretendedDevice() as device:
        plant(vectors())
    assert [kind for _, kind in device.synchronisations] == kinds
    assert all("test_devices.py:" in line for line, _ in device.synchronisations)


def test_a_tensor_stays_on_its_device() -> None:
    with PretendedDevice():
        x = vectors()
        layer = torch.nn.Linear(4, 4).to(PRETENDED)
        started = torch.ones(2, requires_grad=True)
        (layer(x).sum() + started.to(PRETENDED).sum()).backward()
        on = [x, x[:1], x.detach(), x.T, x.new_zeros(2), torch.zeros_like(x), layer.weight, layer.weight.grad, x.grad]
        assert {one.device for one in on} == {PRETENDED} and all(one.is_cuda for one in on)
        off = [started, started.grad, x.cpu(), torch.arange(3), torch.zeros_like(x, device="cpu"), torch.ones(1)]
        assert {one.device for one in off} == {CPU}
        with PRETENDED:
            assert torch.zeros(1).device == PRETENDED
        with pytest.raises(TypeError, match="Tensor.cpu"):
            x.detach().numpy()
    assert torch.zeros(1).device == CPU
