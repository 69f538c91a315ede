"""The losses' pieces, against numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from semalign_pl.functional.losses import clipped_ratio, kl_k3, mean_over_tokens_sum, nll_sum

MASK = torch.tensor([[True, True, False], [True, False, False]])
EMPTY = torch.zeros(2, 3, dtype=torch.bool)


def ratio_loss(ratio: float, advantage: float) -> tuple[float, bool, float]:
    """Loss, clipped or not, and the derivative by the log-prob, of one token."""
    logp = torch.tensor([[math.log(ratio) - 2.0]], requires_grad=True)
    old, one = torch.tensor([[-2.0]]), torch.ones(1, 1, dtype=torch.bool)
    loss, clipped = clipped_ratio(logp, old, torch.tensor([advantage]), 0.2, one)
    (gradient,) = torch.autograd.grad(loss.sum(), logp)
    return loss.item(), bool(clipped), gradient.item()


def test_nll_sum_by_hand() -> None:
    logps = torch.tensor([[-1.0, -2.0, -50.0], [-4.0, -50.0, -50.0]])
    assert nll_sum(logps, MASK).item() == 7.0


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped", "gradient"),
    [
        (1.1, 2.0, -2.2, False, -2.2),
        (1.5, 1.0, -1.2, True, 0.0),
        (1.5, -1.0, 1.5, False, 1.5),
        (0.5, 1.0, -0.5, False, -0.5),
        (0.5, -1.0, 0.8, True, 0.0),
    ],
)
def test_ratio_is_clipped_on_the_side_where_it_overshoots(
    ratio: float, advantage: float, loss: float, clipped: bool, gradient: float
) -> None:
    assert ratio_loss(ratio, advantage) == (pytest.approx(loss), clipped, pytest.approx(gradient))


def test_on_policy_the_loss_is_zero_and_its_gradient_is_not() -> None:
    logps = torch.tensor([[-1.0, -2.0, -3.0], [-0.5, -1.5, -2.5]], requires_grad=True)
    full = torch.ones(2, 3, dtype=torch.bool)
    per_token, clipped = clipped_ratio(logps, logps.detach(), torch.tensor([0.7, -0.7]), 0.2, full)
    assert torch.equal(per_token[0], torch.full((3,), -0.7))  # the ratio is exactly 1
    loss = mean_over_tokens_sum(per_token, full) / 2
    assert loss.item() == pytest.approx(0.0, abs=1e-7) and not clipped.any()
    (gradient,) = torch.autograd.grad(loss, logps)
    torch.testing.assert_close(gradient, torch.tensor([[-0.7] * 3, [0.7] * 3]) / 6)


def test_k3_by_hand() -> None:
    policy, reference = torch.tensor([0.5, 0.5, 0.1]).log(), torch.tensor([0.5, 0.25, 0.4]).log()
    expected = [0.0, 0.5 + math.log(2) - 1, 4 - math.log(4) - 1]
    torch.testing.assert_close(kl_k3(policy, reference), torch.tensor(expected))


def test_k3_is_never_negative_and_right_on_average() -> None:
    """Summed over all outcomes with the policy's probabilities it is the KL divergence itself."""
    logits = torch.randn(2, 50, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    policy, reference = logits.log_softmax(-1)
    k3 = kl_k3(policy, reference)
    assert k3.min() >= 0
    exact = (policy.exp() * (policy - reference)).sum(-1)
    torch.testing.assert_close((policy.exp() * k3).sum(-1), exact)


def test_every_completion_weighs_the_same() -> None:
    per_token = torch.tensor([[1.0, 3.0, 9.0], [5.0, 9.0, 9.0]])
    assert mean_over_tokens_sum(per_token, MASK).item() == 2.0 + 5.0  # not 9 / 3 tokens


def total(logps: Tensor, old: Tensor, mask: Tensor) -> Tensor:
    per_token, _ = clipped_ratio(logps, old, torch.tensor([1.0, -1.0]), 0.2, mask)
    kl = kl_k3(logps.masked_fill(~mask, 0.0), old.masked_fill(~mask, 0.0))
    return mean_over_tokens_sum(per_token + 0.04 * kl, mask) + nll_sum(logps, mask)


@pytest.mark.parametrize("tokens", [3, 0])
def test_rows_without_a_token_give_a_finite_differentiable_zero(tokens: int) -> None:
    logps = torch.full((2, tokens), -1.0, requires_grad=True)
    loss = total(logps, torch.full((2, tokens), -2.0), EMPTY[:, :tokens])
    loss.backward()
    assert loss.item() == 0.0
    assert logps.grad is not None and logps.grad.abs().sum() == 0


@pytest.mark.parametrize("odd", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("which", ["policy", "old"])
def test_whatever_stands_in_padding_stays_there(odd: float, which: str) -> None:
    good = torch.full((2, 3), -1.0)
    bad = good.masked_fill(~MASK, odd)
    logps = (bad if which == "policy" else good).clone().requires_grad_()
    old = (bad if which == "old" else good) - 0.1
    loss = total(logps, old, MASK)
    loss.backward()
    clean = total(good, good - 0.1, MASK)
    assert loss.item() == pytest.approx(clean.item())
    assert logps.grad is not None and logps.grad.isfinite().all() and logps.grad[~MASK].abs().sum() == 0
    pure = nll_sum(bad, MASK) + mean_over_tokens_sum(bad, MASK)
    assert pure.item() == pytest.approx(3.0 - 2.0)
