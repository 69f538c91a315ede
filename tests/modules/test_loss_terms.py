"""Terms of a loss: their weighted sum, their values to log, a new one, and several in one micro-batch."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from helpers.tiny import Recorded, fit, plain_logps, relative

from semalign_pl.engine.micro_batches import Completions
from semalign_pl.functional.losses import LossOutputs, token_sum
from semalign_pl.modules import Constant, GRPOModule, SFTModule
from semalign_pl.modules.loss_terms import LossTerm, NLLTerm, StepLoss
from semalign_pl.rewards import Reward
from semalign_pl.types import Rollouts

SHORT = Completions([[5, 6, 7], [8, 9]], [[30, 31], [32]])
LONG = Completions([[5, 6, 7], [8, 9], [11]], [[40, 41, 42, 43, 44], [], [45, 46, 47]])


@dataclass(frozen=True, kw_only=True)
class Confident(LossTerm):
    """A user's own term: NLL weighted by the probability of each token, without gradient (arXiv 2508.05629)."""

    logged: ClassVar[tuple[str, ...]] = ("token_weight",)

    def __call__(self, logprobs):
        weight = logprobs.logps.detach().exp()
        return LossOutputs(
            token_sum(-weight * logprobs.logps, logprobs.mask), {"token_weight": token_sum(weight, logprobs.mask)}
        )


class Given(Recorded, SFTModule):
    """Module whose steps optimise given terms."""

    stirred = 0.05
    terms: list[LossTerm]

    def training_step(self, batch, batch_idx):
        self.metrics = self.optimise(self.terms)


def nll(name: str = "nll", **options) -> NLLTerm:
    return NLLTerm(**{"name": name, "completions": SHORT, "denominator": 3.0, **options})


def confident(**options) -> Confident:
    return Confident(**{"name": "dft", "completions": LONG, "denominator": 8.0, **options})


@pytest.fixture
def step(base, sft_adapter):
    """One optimiser step on given terms, always from the same weights."""

    def run(*terms: LossTerm, micro_batch_tokens: int = 10**4) -> Given:
        sgd = functools.partial(torch.optim.SGD, lr=0.1)
        module = Given(
            base, sgd, lr_scheduler=Constant, weights="fp32", adapter=sft_adapter, micro_batch_tokens=micro_batch_tokens
        )
        module.terms = list(terms)
        fit(module, [[]])
        return module

    return run


@pytest.mark.parametrize("micro_batch_tokens", [1, 12, 10**4])
def test_the_gradient_is_the_weighted_sum_of_the_terms_gradients(step, micro_batch_tokens: int) -> None:
    """Two of the prompts occur in both terms, and completions of both are in one chunk with the largest budget."""
    one, other = step(nll()), step(confident())
    both = step(nll(weight=0.5), confident(weight=2.0), micro_batch_tokens=micro_batch_tokens)
    expected = 0.5 * one.gradients[0] + 2.0 * other.gradients[0]
    assert expected.norm() > 0.1 and relative(both.gradients[0], expected) < 1e-5
    assert both.metrics["nll"].item() == pytest.approx(one.metrics["loss"].item(), rel=1e-5)
    assert both.metrics["dft"].item() == pytest.approx(other.metrics["loss"].item(), rel=1e-5)
    assert both.metrics["loss"].item() == pytest.approx((0.5 * both.metrics["nll"] + 2 * both.metrics["dft"]).item())


def test_a_new_term_by_hand(step) -> None:
    module = step(confident())
    policy, pairs = module.policy, [pair for pair in zip(LONG.prompts, LONG.completions, strict=True) if pair[1]]
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if name in module.weights[0]:
                weight.copy_(module.weights[0][name])
        logps = torch.cat([plain_logps(policy.model, prompt, completion) for prompt, completion in pairs])
    assert module.metrics["loss"].item() == pytest.approx(-(logps.exp() * logps).sum().item() / 8, rel=1e-5)
    assert module.metrics["token_weight"].item() == pytest.approx(logps.exp().mean().item(), rel=1e-5)
    assert module.metrics.keys() == {"loss", "token_weight", "grad_norm"}  # a single term is the loss itself


def test_two_terms_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="^loss terms: two values would be logged as one name: loss, nll, nll; rename"):
        StepLoss([nll(), nll()], 1, 1, torch.device("cpu"))


class Unused(Reward):
    def score(self, *, completions, **_):
        raise AssertionError


class Hybrid(Recorded, GRPOModule):
    """GRPO with given rollouts and references."""

    stirred = 0.05

    def training_step(self, batch, batch_idx):
        mask = torch.arange(3) < torch.tensor([3, 2, 1, 3]).unsqueeze(1)
        ids = torch.tensor([[20, 21, 22], [23, 24, 0], [25, 0, 0], [26, 27, 28]])
        rollouts = Rollouts([[5, 6, 7], [8, 9]], ids, mask, mask.any(1), [""] * 4, 2)
        references = [[30, 31, 32, 33, 34, 35, 36], [37, 38, 39, 40]] if self.reference_nll_weight else []
        self.metrics = self.policy_update(rollouts, torch.tensor([1.0, -1.0, 0.5, -0.5]), references)


@pytest.mark.parametrize("iterations", [1, 2])
def test_references_may_be_longer_than_every_rollout(base, sft_adapter, iterations: int) -> None:
    """A rollout and a longer reference in one chunk: the rollout's other log-probs have no column for the reference."""
    runs = {}
    for weight in (0.0, 0.3):
        sgd = functools.partial(torch.optim.SGD, lr=0.1)
        runs[weight] = Hybrid(
            base, sgd, 2, reference_nll_weight=weight, num_iterations=iterations, lr_scheduler=Constant,
            weights="fp32", adapter=sft_adapter, max_grad_norm=1e9,
        )  # fmt: skip
        fit(runs[weight], [[]], [Unused()])
    pure, hybrid = runs[0.0], runs[0.3]
    if iterations == 1:
        nll_per_token = (hybrid.metrics["loss"] - pure.metrics["loss"]).item() / 0.3
        assert nll_per_token == pytest.approx(hybrid.metrics["reference_nll"].item(), rel=1e-5) and nll_per_token > 1
        assert hybrid.metrics["policy_loss"].item() == pytest.approx(pure.metrics["loss"].item(), rel=1e-5)
        assert hybrid.metrics["kl"].item() == pytest.approx(pure.metrics["kl"].item(), rel=1e-5)
    assert len(hybrid.gradients) == iterations and relative(hybrid.gradients[0], pure.gradients[0]) > 0.1
