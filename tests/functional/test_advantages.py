"""Advantages from rewards, against numbers computed by hand."""

import math

import pytest
import torch

from semalign_pl.functional.advantages import group_advantages, signal

NAN = float("nan")


def test_by_hand() -> None:
    std = math.sqrt(5 / 3)  # standard deviation of 0, 1, 2, 3 with n - 1; with n it would be sqrt(5/4)
    expected = [(r - 1.5) / (std + 1e-4) for r in range(4)]
    torch.testing.assert_close(group_advantages(torch.tensor([0.0, 1.0, 2.0, 3.0]), 4), torch.tensor(expected))


def test_each_group_stands_alone() -> None:
    advantages = group_advantages(torch.tensor([0.0, 2.0, 100.0, 102.0]), 2)
    one = 1 / (math.sqrt(2) + 1e-4)
    torch.testing.assert_close(advantages, torch.tensor([-one, one, -one, one]))


def test_group_of_one_is_zero() -> None:
    assert group_advantages(torch.tensor([0.3, 0.9]), 1).tolist() == [0.0, 0.0]


@pytest.mark.parametrize("noise", [0.0, 1e-7, 3e-5])
def test_equal_rewards_are_exactly_zero_also_with_float_noise(noise: float) -> None:
    rewards = 0.7 + noise * torch.tensor([1.0, -1.0, 0.5, 0.0])
    assert group_advantages(rewards, 4).tolist() == [0.0] * 4
    assert signal(rewards, 4).tolist() == [False]


def test_a_small_true_difference_is_a_signal() -> None:
    assert group_advantages(torch.tensor([0.700, 0.701]), 2).abs().min() > 0.5


def test_not_scored_is_left_out_of_its_group_and_gets_zero() -> None:
    half = 0.5 / (math.sqrt(0.5) + 1e-4)  # mean and standard deviation of 2 and 3 only
    advantages = group_advantages(torch.tensor([2.0, NAN, 3.0, NAN]), 4)
    torch.testing.assert_close(advantages, torch.tensor([-half, 0.0, half, 0.0]))


def test_a_group_with_one_score_or_none_is_zero() -> None:
    assert group_advantages(torch.tensor([NAN, NAN, 5.0, NAN]), 2).tolist() == [0.0] * 4
    assert signal(torch.tensor([NAN, NAN, 5.0, NAN, 0.0, 1.0]), 2).tolist() == [False, False, True]


def test_a_negative_group_with_unscored_rows() -> None:
    """If NaN counted as 0, it would be the best of a group of penalties."""
    advantages = group_advantages(torch.tensor([-1.0, -3.0, NAN]), 3)
    assert advantages[0] > 0 > advantages[1] and advantages[2] == 0


def test_rewards_in_half_precision_are_compared_in_float32() -> None:
    assert group_advantages(torch.tensor([0.0, 1.0], dtype=torch.bfloat16), 2).dtype == torch.float32


def test_scaled_by_the_batch_or_by_nothing() -> None:
    rewards = torch.tensor([0.0, 1.0, 0.5, 0.5])
    none = group_advantages(rewards, 2, "none")
    assert none.tolist() == [-0.5, 0.5, 0.0, 0.0]
    torch.testing.assert_close(group_advantages(rewards, 2, "batch", 0.25), none / 0.2501)
