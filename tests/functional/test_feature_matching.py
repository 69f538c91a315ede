"""EBFT's rewards against tables computed by hand, and their policy gradient against that of the loss."""

from __future__ import annotations

from itertools import product
from math import sqrt

import pytest
import torch

from semalign_pl.functional.feature_matching import feature_matching_rewards, whiten

SAMPLES = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
REFERENCE = torch.tensor([0.6, 0.8])


def test_equation_7_by_hand() -> None:
    expected = [2 * 0.6 - 2 / 2 * (1 + 0), 2 * 0.6 - 2 / 2 * (1 + 0), 2 * 0.8 - 0]
    assert feature_matching_rewards(SAMPLES, REFERENCE, 1.0, whitened=False).tolist() == pytest.approx(expected)
    halved = feature_matching_rewards(SAMPLES, REFERENCE, 0.5, whitened=False).tolist()
    assert halved == pytest.approx([1.2 - 0.5, 1.2 - 0.5, 1.6])
    assert feature_matching_rewards(SAMPLES[:1], REFERENCE, 1.0, whitened=False).tolist() == pytest.approx([1.2])


def test_equation_9_by_hand() -> None:
    # The second moment is diag(2/3, 1/3), so the features are multiplied by sqrt(3/2) and sqrt(3).
    x, y = 0.6 * sqrt(1.5), 0.8 * sqrt(3.0)
    length = sqrt(x * x + y * y)
    expected = [2 * x / length - 1.5, 2 * x / length - 1.5, 2 * y / length]
    assert feature_matching_rewards(SAMPLES, REFERENCE, 1.0).tolist() == pytest.approx(expected, abs=1e-6)


def test_whitened_features_have_the_identity_as_second_moment() -> None:
    features = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) @ torch.diag(
        torch.tensor([9.0, 3, 1, 0.1])
    )
    white, reference = whiten(features, features[7])
    torch.testing.assert_close(white.T @ white / 50, torch.eye(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(reference, white[7])


def test_whitening_leaves_out_directions_without_a_sample() -> None:
    white, reference = whiten(torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([2.0, 1.0, 5.0]))
    assert white[:, 2].tolist() == [0, 0] and reference.tolist() == pytest.approx([sqrt(2), sqrt(2), 0.0])


def test_reinforce_has_the_gradient_of_the_feature_matching_loss() -> None:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    reference = torch.randn(4, generator=generator, dtype=torch.float64)
    logits = torch.randn(3, generator=generator, dtype=torch.float64).requires_grad_()

    loss = (logits.softmax(0) @ features - reference).square().sum()
    (wanted,) = torch.autograd.grad(-loss, logits)

    logps, n, surrogate = logits.log_softmax(0), 2, torch.zeros((), dtype=torch.float64)
    for drawn in product(range(3), repeat=n):  # exact expectation over all draws of n samples
        rewards = feature_matching_rewards(features[list(drawn)], reference, 1.0, whitened=False).double()
        probability = logps[list(drawn)].sum().exp().detach()
        surrogate = surrogate + probability * (rewards * logps[list(drawn)]).sum() / n
    (found,) = torch.autograd.grad(surrogate, logits)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
