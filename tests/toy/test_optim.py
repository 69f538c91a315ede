"""Optimisers of the toy world's models."""

import pytest
import torch

from semalign_pl.toy.optim import Muon


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_muon_is_that_of_torch_but_for_bfloat16(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(shape), torch.randn(4, *shape)
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    one = Muon([ours], 0.02)
    other = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    for gradient in gradients:
        for weight, optimizer in ((ours, one), (theirs, other)):
            weight.grad = gradient.clone()
            optimizer.step()
    moved = (ours - start).norm()
    assert moved > 0.05 and (ours - theirs).norm() < 0.02 * moved
