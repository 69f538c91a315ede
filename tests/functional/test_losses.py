"""The parts of the losses, against numbers computed by hand."""

import math

import pytest
import torch
from torch import Tensor

from semalign_pl.functional.losses import (
    LossInputs,
    clipped_surrogate,
    importance_ratio,
    kl_k3,
    mean_over_tokens_sum,
    nll_sum,
    token_sum,
    truncated_importance,
)
from semalign_pl.functional.objective import Objective

MASK = torch.tensor([[True, True, False], [True, False, False]])
EMPTY = torch.zeros(2, 3, dtype=torch.bool)


def ratio_loss(ratio: float, advantage: float) -> tuple[float, bool, float]:
    """Loss of one token, clipped or not, and its derivative with respect to the log-prob."""
    logp = torch.tensor([[math.log(ratio) - 2.0]], requires_grad=True)
    old, one = torch.tensor([[-2.0]]), torch.ones(1, 1, dtype=torch.bool)
    ratio_now = importance_ratio(logp, old, one)
    loss, clipped = clipped_surrogate(ratio_now, torch.tensor([advantage]), one, 0.2, 0.28)
    (gradient,) = torch.autograd.grad(loss.sum(), logp)
    return loss.item(), bool(clipped), gradient.item()


def test_nll_sum_by_hand() -> None:
    logps = torch.tensor([[-1.0, -2.0, -50.0], [-4.0, -50.0, -50.0]])
    assert nll_sum(logps, MASK).item() == 7.0


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "clipped", "gradient"),
    [
        (1.1, 2.0, -2.2, False, -2.2),
        (1.25, 1.0, -1.25, False, -1.25),  # inside 1 + epsilon_high, outside 1 + epsilon
        (1.5, 1.0, -1.28, True, 0.0),
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
    ratio = importance_ratio(logps, logps.detach(), full)
    per_token, clipped = clipped_surrogate(ratio, torch.tensor([0.7, -0.7]), full, 0.2, 0.2)
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
    """Weighted with the policy's probabilities and summed over all outcomes, it is the KL divergence itself."""
    logits = torch.randn(2, 50, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    policy, reference = logits.log_softmax(-1)
    k3 = kl_k3(policy, reference)
    assert k3.min() >= 0
    exact = (policy.exp() * (policy - reference)).sum(-1)
    torch.testing.assert_close((policy.exp() * k3).sum(-1), exact)


def test_every_completion_weighs_the_same() -> None:
    per_token = torch.tensor([[1.0, 3.0, 9.0], [5.0, 9.0, 9.0]])
    assert mean_over_tokens_sum(per_token, MASK).item() == 2.0 + 5.0  # not 9 / 3 tokens


def test_every_token_weighs_the_same() -> None:
    per_token = torch.tensor([[1.0, 3.0, 9.0], [5.0, 9.0, 9.0]])
    assert token_sum(per_token, MASK).item() == 9.0


def test_a_sequences_ratio_is_the_geometric_mean_of_its_tokens() -> None:
    """GSPO, equation 7: (2 * 8) ** (1/2) for the first row, without its padding."""
    ratios = torch.tensor([[2.0, 8.0, 50.0], [3.0, 50.0, 50.0]])
    old = torch.full((2, 3), -4.0)
    logps = (ratios.log() + old).requires_grad_()
    found = importance_ratio(logps, old, MASK, "sequence")
    torch.testing.assert_close(found, torch.tensor([[4.0] * 3, [3.0] * 3]))
    (gradient,) = torch.autograd.grad(found[0, 0], logps)
    torch.testing.assert_close(gradient, torch.tensor([[2.0, 2.0, 0.0], [0.0, 0.0, 0.0]]))  # s / |y| per token


def test_cispo_cuts_the_weight_and_keeps_the_gradient() -> None:
    """Ratio 8 counts as 5; the derivative with respect to the log-prob is -weight * advantage, for any ratio."""
    old = torch.full((1, 2), -4.0)
    logps = (torch.tensor([[8.0, 0.5]]).log() + old).requires_grad_()
    mask = torch.ones(1, 2, dtype=torch.bool)
    ratio = importance_ratio(logps, old, mask)
    loss, cut = truncated_importance(ratio, logps, torch.tensor([2.0]), mask, 5.0)
    torch.testing.assert_close(loss, torch.tensor([[-10.0, -1.0]]) * logps.detach())
    (gradient,) = torch.autograd.grad(loss.sum(), logps)
    assert gradient.tolist() == [[-10.0, -1.0]] and cut.tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("loss_type", "expected"), [("grpo", 6.0), ("bnpo", 18.0), ("dr_grpo", 240.0), ("dapo", 20.0), ("cispo", 20.0)]
)
def test_denominators_by_hand(loss_type, expected: float) -> None:
    """Two ranks: 6 completions with 20 tokens in total, 9 of them on this rank; at most 40 tokens per completion."""
    assert Objective(loss_type).denominator(6, 20, 9, 2, 40) == expected
    assert Objective(loss_type).denominator(0, 0, 0, 2, 40) == 1.0


KINDS = [Objective(), Objective("dapo", "sequence"), Objective("cispo", epsilon_high=5.0)]


def total(logps: Tensor, old: Tensor, mask: Tensor, objective: Objective = KINDS[0]) -> Tensor:
    inputs = LossInputs(logps, old, old, torch.tensor([1.0, -1.0]), mask, torch.zeros_like(logps))
    return objective(inputs).loss + nll_sum(logps, mask)


@pytest.mark.parametrize("tokens", [3, 0])
@pytest.mark.parametrize("objective", KINDS)
def test_rows_without_a_token_give_a_finite_differentiable_zero(tokens: int, objective: Objective) -> None:
    logps = torch.full((2, tokens), -1.0, requires_grad=True)
    loss = total(logps, torch.full((2, tokens), -2.0), EMPTY[:, :tokens], objective)
    loss.backward()
    assert loss.item() == 0.0
    assert logps.grad is not None and logps.grad.abs().sum() == 0


@pytest.mark.parametrize("odd", [float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("which", ["policy", "old"])
@pytest.mark.parametrize("objective", KINDS)
def test_whatever_stands_in_padding_stays_there(odd: float, which: str, objective: Objective) -> None:
    good = torch.full((2, 3), -1.0)
    bad = good.masked_fill(~MASK, odd)
    logps = (bad if which == "policy" else good).clone().requires_grad_()
    old = (bad if which == "old" else good) - 0.1
    loss = total(logps, old, MASK, objective)
    loss.backward()
    clean = total(good, good - 0.1, MASK, objective)
    assert loss.item() == pytest.approx(clean.item())
    assert logps.grad is not None and logps.grad.isfinite().all() and logps.grad[~MASK].abs().sum() == 0
    pure = nll_sum(bad, MASK) + mean_over_tokens_sum(bad, MASK)
    assert pure.item() == pytest.approx(3.0 - 2.0)
