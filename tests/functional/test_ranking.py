"""Best and worst of a group, the order of shuffled rewards, and CPO's preference loss."""

from __future__ import annotations

import math

import pytest
import torch

from semalign_pl.functional.ranking import preference_loss, rank_groups, shuffle_within_groups

NAN = float("nan")


@pytest.mark.parametrize(
    ("rewards", "best", "worst", "differ"),
    [
        ([0.1, 0.9, 0.5], [1], [0], [True]),
        ([-2.0, -3.0, -1.0], [2], [1], [True]),
        ([0.5, 0.9, 0.9], [1], [0], [True]),  # the first of equal ones
        ([NAN, 0.2, 0.1], [1], [2], [True]),  # not scored is neither best nor worst
        ([NAN, 0.2, NAN], [1], [1], [False]),  # one score is no ranking
        ([NAN, NAN, NAN], [0], [0], [False]),
        ([0.3, 0.3, 0.3 + 1e-6], [2], [0], [False]),  # float noise is no difference
        ([0.1, 0.9, 0.5, 7.0, 3.0, 5.0], [1, 3], [0, 4], [True, True]),
    ],
)
def test_ranking_by_hand(rewards, best, worst, differ) -> None:
    ranking = rank_groups(torch.tensor(rewards), 3)
    assert (ranking.best.tolist(), ranking.worst.tolist(), ranking.differ.tolist()) == (best, worst, differ)


def test_shuffled_rewards_are_those_of_the_group_in_another_order() -> None:
    rewards = torch.arange(4000.0)
    shuffled = shuffle_within_groups(rewards, 4, 7)
    assert torch.equal(shuffled.view(-1, 4).sort(1).values, rewards.view(-1, 4))
    assert torch.equal(shuffled, shuffle_within_groups(rewards, 4, 7))
    assert not torch.equal(shuffled, shuffle_within_groups(rewards, 4, 8))
    # Each place gets each of the four rewards equally often: 250 of 1000 groups, give or take 3.5 standard deviations.
    places = (shuffled.view(-1, 4) % 4).long()
    counts = torch.stack([(places == reward).sum(0) for reward in range(4)])
    assert (counts - 250).abs().max() < 3.5 * math.sqrt(1000 * 0.25 * 0.75)


def test_the_preference_loss_by_hand() -> None:
    """Log-probs that differ by ln 9 at beta 0.5: the sigmoid of ln 3 is 3/4."""
    pair = preference_loss(torch.tensor([-1.0, -5.0]), torch.tensor([-1.0 - math.log(9), -5.0]), 0.5)
    torch.testing.assert_close(pair.loss, torch.tensor([-math.log(0.75), math.log(2)]))
    torch.testing.assert_close(pair.slope, torch.tensor([0.5 / 4, 0.5 / 2]))


def test_the_slope_is_the_derivative() -> None:
    preferred, rejected = (torch.randn(6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    loss = -torch.nn.functional.logsigmoid(0.3 * (10 * preferred - 10 * rejected))
    gradients = torch.autograd.grad(loss.sum(), [preferred, rejected])
    slope = preference_loss(10 * preferred.detach(), 10 * rejected.detach(), 0.3).slope
    torch.testing.assert_close(gradients[0], -10 * slope)
    torch.testing.assert_close(gradients[1], 10 * slope)


def test_certain_preferences_have_neither_loss_nor_slope_and_stay_finite() -> None:
    pair = preference_loss(torch.tensor([0.0, -5e3]), torch.tensor([-5e3, 0.0]), 0.1)
    assert pair.loss.tolist() == [0.0, 500.0] and pair.slope.tolist() == [0.0, pytest.approx(0.1)]
