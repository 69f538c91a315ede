"""Combination of several rewards, against numbers computed by hand and TRL's formula."""

import pytest
import torch

from semalign_pl.functional.advantages import group_advantages
from semalign_pl.functional.composition import normalise_within_groups, total_reward

NAN = float("nan")


def test_total_reward() -> None:
    parts = torch.tensor([[1.0, NAN, 0.5, NAN], [0.0, 1.0, 1.0, NAN]])
    total = total_reward(parts, [1.5, 2.0])
    torch.testing.assert_close(total, torch.tensor([1.5, 2.0, 2.75, NAN]), equal_nan=True)
    assert total_reward(parts.double(), [1.5, 2.0]).dtype == torch.float32


def test_rewards_in_half_precision_are_summed_in_float32() -> None:
    parts = torch.tensor([[1.0], [1.0]], dtype=torch.bfloat16)
    assert total_reward(parts, [1.0, 0.001]).item() == pytest.approx(1.001, abs=1e-6)


def test_without_gates_penalties_stay_negative() -> None:
    assert total_reward(torch.tensor([[-1.0]]), [0.5]).item() == -0.5


def test_sg_srls_score_by_hand() -> None:
    """``gate * max(r - 0.20 p_len - 0.05 p_rep, 0)``."""
    table = [  # r, p_len, p_rep, gate, score
        (0.80, 0.0, 0.0, 1.0, 0.80),
        (0.80, 0.5, 0.0, 1.0, 0.70),
        (0.80, 1.0, 0.4, 1.0, 0.58),
        (0.10, 1.0, 1.0, 1.0, 0.00),  # -0.15 becomes 0
        (0.80, 0.0, 0.0, 0.0, 0.00),
        (0.10, 1.0, 1.0, 0.0, 0.00),  # a closed gate is not better than a negative value
        (0.80, 0.0, 0.0, NAN, 0.80),  # a missing gate score counts as open
        (NAN, 0.0, 0.0, 1.0, 0.00),  # the other terms still count
    ]
    r, p_len, p_rep, gate, expected = torch.tensor(table).T
    parts = torch.stack([r, -p_len, gate, -p_rep])
    torch.testing.assert_close(total_reward(parts, [1.0, 0.2, 9.0, 0.05], [False, False, True, False]), expected)


def test_only_a_gate_scored_is_not_scored() -> None:
    assert total_reward(torch.tensor([[NAN], [1.0]]), [1.0, 1.0], [False, True]).isnan().all()


def test_gdpo_is_trls() -> None:
    """TRL 1.16's normalize_then_sum: each reward is normalised in its group, the weighted sum in the batch."""
    draw = torch.Generator().manual_seed(0)
    parts, weights = torch.rand((3, 12), generator=draw) * torch.tensor([[1.0], [50.0], [0.01]]), [1.5, 1.0, 0.2]
    parts[2, 4:8] = 0.3  # a constant reward within one group
    parts[1, 9] = NAN
    grouped = parts.T.view(-1, 4, 3)
    mean = grouped.nanmean(1, keepdim=True)
    deviation = (((grouped - mean) ** 2).nansum(1, keepdim=True) / ((~grouped.isnan()).sum(1, keepdim=True) - 1)).sqrt()
    summed = (((grouped - mean) / (deviation + 1e-4)).view(-1, 3) * torch.tensor(weights)).nansum(1)
    expected = (summed - summed.mean()) / (summed.std() + 1e-4)
    total = total_reward(normalise_within_groups(parts, 4), weights)
    spread = float(total.std())
    torch.testing.assert_close(group_advantages(total, 4, "batch", spread), expected, atol=1e-6, rtol=1e-5)


def test_a_group_not_scored_stays_so() -> None:
    assert normalise_within_groups(torch.tensor([[NAN, NAN, 1.0, 2.0]]), 2).isnan().tolist() == [
        [True, True, False, False]
    ]


def test_the_noise_of_equal_cosines_is_not_blown_up() -> None:
    noise = torch.tensor([[0.7, 0.7 + 6e-8, 0.7, 0.7 - 6e-8]])
    assert normalise_within_groups(noise, 4).tolist() == [[0.0] * 4]
