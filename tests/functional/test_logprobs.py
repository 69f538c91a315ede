"""Log-probs and entropy of chosen tokens, against numbers computed by hand."""

import math

import pytest
import torch

from semalign_pl.functional.logprobs import entropy, selected_logprobs

LOGITS = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])
"""Logits of the probabilities 1/4 and 3/4, then 4/5 and 1/5."""


def test_by_hand() -> None:
    chosen = selected_logprobs(LOGITS, torch.tensor([1, 1]))
    torch.testing.assert_close(chosen.exp(), torch.tensor([0.75, 0.2]))


def test_temperature_divides_the_logits_and_not_the_log_probs() -> None:
    chosen = selected_logprobs(LOGITS, torch.tensor([1, 1]), temperature=0.5)
    torch.testing.assert_close(chosen.exp(), torch.tensor([9 / 10, 1 / 17]))  # odds 3 and 1/4, squared


def test_any_leading_shape() -> None:
    logits, ids = torch.randn(2, 3, 7), torch.randint(7, (2, 3))
    chosen = selected_logprobs(logits, ids, 0.8)
    for row in range(2):
        for token in range(3):
            expected = (logits[row, token] / 0.8).log_softmax(-1)[ids[row, token]]
            assert chosen[row, token].item() == pytest.approx(expected.item(), abs=1e-6)


def test_log_sum_exp_is_float32_for_bfloat16_logits() -> None:
    logits = torch.randn(4, 5000, generator=torch.Generator().manual_seed(0)).mul(3).bfloat16()
    ids = torch.tensor([0, 17, 4999, 300])
    exact = (logits.double() / 0.8).log_softmax(-1).gather(1, ids.unsqueeze(1)).squeeze(1)
    chosen = selected_logprobs(logits, ids, 0.8)
    assert chosen.dtype == torch.float32
    assert (chosen - exact).abs().max() < 1e-5  # in bfloat16 it is off by about 0.01
    assert entropy(logits).dtype == torch.float32


def test_entropy_by_hand() -> None:
    expected = [0.25 * math.log(4) + 0.75 * math.log(4 / 3), 0.8 * math.log(1.25) + 0.2 * math.log(5)]
    torch.testing.assert_close(entropy(LOGITS), torch.tensor(expected))
    hot = 0.1 * math.log(10) + 0.9 * math.log(10 / 9)
    assert entropy(LOGITS[:1], temperature=0.5).item() == pytest.approx(hot, abs=1e-6)
