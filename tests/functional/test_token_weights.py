"""Weights of tokens: tables by hand, the papers' formulas on whole distributions, and no gradient through a weight."""

from __future__ import annotations

import math

import pytest
import torch

from semalign_pl.functional.token_weights import TALR_FLOOR, token_weights

P = [1.0, 0.5, 0.25, 0.01, 1e-6]
TABLES = {
    "none": [1.0, 1.0, 1.0, 1.0, 1.0],
    "dft": [1.0, 0.5, 0.25, 0.01, 1e-6],
    "asft": [1.0, 0.5, 0.25, 0.01, 1e-6],
    "talr": [1.0, math.sqrt(0.5), 0.5, 0.1, 0.01],  # temperature 2: square roots, and the floor
    "chord": [0.0, 0.25, 0.1875, 0.0099, 1e-6],
}


@pytest.mark.parametrize("kind", TABLES)
def test_by_hand(kind) -> None:
    weights = token_weights(kind, torch.tensor([P]).log(), torch.zeros(1, 5), temperature=2.0)
    torch.testing.assert_close(weights, torch.tensor([TABLES[kind]]), atol=1e-8, rtol=1e-5)


def test_a_flat_temperature_makes_talr_sft_and_a_low_one_makes_it_a_threshold() -> None:
    logps = torch.tensor([P]).log()
    assert token_weights("talr", logps, logps, 1e6).min() > 0.999
    assert token_weights("talr", logps, logps, 1e-4).tolist() == [[1.0] + [pytest.approx(TALR_FLOOR)] * 4]


def test_eafts_gate_is_the_papers_where_twenty_tokens_have_all_the_probability() -> None:
    """The paper's top-20 entropy, divided by ln 20, by its own definition: renormalised over the 20 likeliest."""
    logits = torch.full((6, 400), -1e4)
    logits[:, :20] = torch.randn(6, 20, generator=torch.Generator().manual_seed(0)) * torch.arange(6.0).unsqueeze(1)
    top = logits.topk(20).values.log_softmax(-1)
    paper = -(top.exp() * top).sum(-1) / math.log(20)
    of_vocabulary = torch.distributions.Categorical(logits=logits).entropy()
    gate = token_weights("eaft", torch.zeros(1, 6), of_vocabulary.unsqueeze(0))[0]
    torch.testing.assert_close(gate, paper, atol=1e-6, rtol=1e-5)
    assert gate[0].item() == pytest.approx(1.0) and gate[5] < 0.7


def test_the_gate_of_a_flat_distribution_over_more_tokens_is_one() -> None:
    assert token_weights("eaft", torch.zeros(1, 1), torch.full((1, 1), math.log(400.0))).item() == 1.0


@pytest.mark.parametrize("kind", ["none", "dft", "asft", "eaft", "talr", "chord"])
def test_no_gradient_flows_through_a_weight(kind) -> None:
    """The gradient of ``-weight log p`` is the weight times the gradient of the NLL, from the logits on."""
    logits = torch.randn(1, 4, 9, generator=torch.Generator().manual_seed(1), requires_grad=True)
    all_logps = logits.log_softmax(-1)
    logps, entropy = all_logps[..., 3], -(all_logps.exp() * all_logps).sum(-1)
    weights = token_weights(kind, logps, entropy, 1.5)
    assert not weights.requires_grad and 0 <= weights.min() and weights.max() <= 1
    (gradient,) = torch.autograd.grad(-(weights * logps).sum(), logits, retain_graph=True)
    one_hot = torch.nn.functional.one_hot(torch.tensor(3), 9)
    torch.testing.assert_close(gradient, (logits.softmax(-1) - one_hot).detach() * weights.unsqueeze(-1))
