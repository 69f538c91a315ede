"""Divergences on tables by hand, against torch's kl_div, and their gradients against autograd in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import kl_div

from semalign_pl.functional.divergence import FullDivergence, divergence, divergence_and_gradient

KINDS: list[FullDivergence] = ["forward_kl", "reverse_kl", "jsd"]
HALF, SKEWED = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.9, 0.1]).log()


def draw(seed: int) -> Tensor:
    return 3 * torch.randn((5, 40), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # Target (0.5, 0.5), policy (0.9, 0.1); the mixture is (0.7, 0.3).
        ("forward_kl", 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)),
        ("reverse_kl", 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)),
        (
            "jsd",
            (
                0.5 * math.log(0.5 / 0.7)
                + 0.5 * math.log(0.5 / 0.3)
                + 0.9 * math.log(0.9 / 0.7)
                + 0.1 * math.log(0.1 / 0.3)
            )
            / 2,
        ),
    ],
)
def test_by_hand(kind: FullDivergence, expected: float) -> None:
    assert divergence(kind, HALF, SKEWED).item() == pytest.approx(expected, rel=1e-6)


def test_directions_are_those_of_torch() -> None:
    target, policy = draw(0).log_softmax(-1), draw(1).log_softmax(-1)
    forward = kl_div(policy, target, reduction="none", log_target=True).sum(-1)
    torch.testing.assert_close(divergence("forward_kl", target, policy), forward)
    reverse = kl_div(target, policy, reduction="none", log_target=True).sum(-1)
    torch.testing.assert_close(divergence("reverse_kl", target, policy), reverse)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_by_logits(kind: FullDivergence) -> None:
    target, logits = draw(0).log_softmax(-1), draw(1).requires_grad_()
    (slope,) = torch.autograd.grad(divergence(kind, target, logits.log_softmax(-1)).sum(), logits)
    value, gradient = divergence_and_gradient(kind, target, logits.detach().log_softmax(-1))
    torch.testing.assert_close(gradient, slope)
    torch.testing.assert_close(value, divergence(kind, target, logits.detach().log_softmax(-1)))
    assert slope.norm() > 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_that_both_exclude_change_nothing(kind: FullDivergence) -> None:
    """A padded vocabulary: logits of -inf in both distributions."""
    padding = torch.full((5, 3), -torch.inf, dtype=torch.float64)
    target, policy = draw(0).log_softmax(-1), draw(1).log_softmax(-1)
    padded = [torch.cat([x, padding], -1) for x in (target, policy)]
    torch.testing.assert_close(divergence(kind, *padded), divergence(kind, target, policy))
    value, gradient = divergence_and_gradient(kind, *padded)
    expected = torch.cat([divergence_and_gradient(kind, target, policy)[1], torch.zeros_like(padding)], -1)
    torch.testing.assert_close(gradient, expected)
    assert value.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_mixed_precision_changes_nothing(kind: FullDivergence) -> None:
    """Neither values nor gradients are rounded to bfloat16, also if the backward pass is within autocast."""
    target = draw(0).float().log_softmax(-1)
    logits = (draw(0) + 0.01 * draw(1)).float().requires_grad_()  # a divergence of some 1e-4 nats, as an anchor's

    def compute() -> list[Tensor]:
        value = divergence(kind, target, logits.log_softmax(-1))
        (slope,) = torch.autograd.grad(value.sum(), logits)
        return [value, slope, *divergence_and_gradient(kind, target, logits.detach().log_softmax(-1))]

    plain = compute()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = compute()
    assert 0 < plain[0].mean() < 1e-3
    for mine, expected in zip(mixed, plain, strict=True):
        assert mine.dtype == torch.float32 and torch.equal(mine, expected)
