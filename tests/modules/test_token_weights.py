"""Token weights in SFT: loss and gradient against autograd of the plain formula, for any micro-batches."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from helpers.tiny import Recorded, fit, relative, trained
from torch import Tensor

from semalign_pl.engine.logprobs import CompletionLogprobs
from semalign_pl.engine.micro_batches import Completions
from semalign_pl.functional.losses import LossOutputs
from semalign_pl.modules import Constant, GRPOModule, SFTModule
from semalign_pl.modules.loss_terms import NLLTerm
from semalign_pl.modules.reference_term import talr_temperature
from semalign_pl.types import Example

PAIRS = [("老师看书。", "དགེ་རྒན་དེབ།"), ("书", "ད"), ("学生在家里吃饭。", "སློབ་མ་ནང་ལ་ཁ་ལག་བཟས།"), ("山", "རི")]
BATCH = [Example(str(i), prompt, reference) for i, (prompt, reference) in enumerate(PAIRS)]
SGD = functools.partial(torch.optim.SGD, lr=0.1)


class Recording(Recorded, SFTModule):
    stirred = 0.05


@pytest.fixture
def module(peaked, peaked_adapter):
    def make(**options) -> Recording:
        settings = {"weights": "fp32", "adapter": peaked_adapter, "lr_scheduler": Constant, "max_grad_norm": 1e9}
        return Recording(peaked, SGD, **{**settings, **options})

    return make


def weighted(kind: str, rows: list[Tensor], logits: list[Tensor]) -> list[Tensor]:
    """The papers' weights of each row, from its log-probs and all its logits."""
    p = [row.detach().exp() for row in rows]
    if kind == "dft":
        return p
    if kind == "chord":
        return [x * (1 - x) for x in p]
    if kind == "talr":
        means = sorted(-row.detach().mean().item() for row in rows)
        tau = (means[1] + means[2]) / 2  # of four rows
        return [(x ** (1 / tau)).clamp(min=0.01) for x in p]
    entropies = [torch.distributions.Categorical(logits=x.detach()).entropy() for x in logits]
    return [(x / math.log(20)).clamp(max=1) for x in entropies]


@pytest.mark.parametrize("kind", ["dft", "eaft", "talr", "chord"])
def test_loss_and_gradient_are_the_formulas_for_any_micro_batches(module, kind: str) -> None:
    whole, split = module(token_weight=kind), module(token_weight=kind, micro_batch_tokens=1)
    losses = [fit(run, [BATCH]).callback_metrics["train/loss"].item() for run in (whole, split)]
    policy, weights = whole.policy, trained(whole.policy)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(whole.weights[0][name])
    logps, logits = [], []
    for example in BATCH:
        prompt = policy.encoder.encode_prompt(example.prompt, 1000)
        completion = policy.encoder.encode_completion(example.reference)
        logits.append(policy.model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1])
        logps.append(logits[-1].log_softmax(-1)[range(len(completion)), completion])
    factors = torch.cat(weighted(kind, logps, logits))
    loss = -(factors * torch.cat(logps)).sum() / len(factors)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(weights.values()))])
    assert factors.std() > 0.1 * factors.mean() and gradient.norm() > 1e-3
    assert losses == [pytest.approx(loss.item(), rel=1e-5)] * 2
    for run in (whole, split):
        assert relative(run.gradients[0], gradient) < 1e-5


def test_the_default_is_plain_sft_to_the_last_digit() -> None:
    """Loss and gradient of a chunk are the NLL's own bits."""
    logps = -torch.rand(3, 7, generator=torch.Generator().manual_seed(0)).mul(9)
    mask = torch.arange(7) < torch.tensor([[7], [2], [5]])
    zeros, results = torch.zeros(3, 7), []
    for loss_of in (plain_nll, NLLTerm(name="nll", completions=Completions([], []), denominator=1.0)):
        leaf = logps.clone().requires_grad_()
        loss = loss_of(CompletionLogprobs([0, 1, 2], [7, 2, 5], leaf, zeros, zeros, mask)).loss
        results.append((loss, torch.autograd.grad(loss, leaf)[0]))
    (plain, plain_gradient), (ours, gradient) = results
    assert torch.equal(plain, ours) and torch.equal(plain_gradient, gradient)


def plain_nll(logprobs: CompletionLogprobs) -> LossOutputs:
    return LossOutputs(-logprobs.logps.masked_fill(~logprobs.mask, 0.0).sum())


def test_validation_has_the_nll_without_weights(module) -> None:
    plain, dft = module(), module(token_weight="dft")
    loss = fit(plain, [BATCH]).callback_metrics["train/loss"].item()
    for run in (plain, dft):
        fit(run, [BATCH])
        with torch.no_grad():
            for name, weight in trained(run.policy).items():
                weight.copy_(plain.weights[0][name])
        run.on_validation_epoch_start()
        run.validation_step(BATCH, 0)
        assert run._validation_loss.metrics(lambda sums: sums)["loss"] == pytest.approx(loss, rel=1e-6)
    assert relative(dft.gradients[0], plain.gradients[0]) > 0.1


def test_talrs_temperature_without_completions(module) -> None:
    run = module(token_weight="talr")
    fit(run, [BATCH])
    for empty in (Completions([], []), Completions([[5, 6]], [[]])):
        assert talr_temperature(run.policy, empty, 100, 1) == 1.0


def test_asft_names_its_two_terms(base) -> None:
    with pytest.raises(ValueError, match=r"^model\.init_args\.token_weight: asft is dft with a KL .* beta: 0\.05"):
        SFTModule(base, token_weight="asft")
    with pytest.raises(
        ValueError, match=r"^model\.init_args\.reference_token_weight: asft .* reference_token_weight: dft, and beta"
    ):
        GRPOModule(base, reference_nll_weight=0.1, reference_token_weight="asft")
