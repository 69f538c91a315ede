"""Losses that use the ranking by reward, shuffled rewards, and the schedule and weights of SFT's loss in GRPO."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pytest
import torch
from helpers.tiny import Recorded, fit, plain_logps, relative, trained

from semalign_pl.modules import Constant, GRPOModule
from semalign_pl.rewards import Reward
from semalign_pl.types import Example, Rollouts

PAIRS = [("书", "དགེ་རྒན་དེབ།"), ("老师看书。", "ག"), ("山", "རི")]
EXAMPLES = [Example(str(i), zh, bo, {"zh": zh}) for i, (zh, bo) in enumerate(PAIRS)]
SGD = functools.partial(torch.optim.SGD, lr=0.5)
NAN = float("nan")


class Length(Reward):
    def score(self, *, completions, **_):
        return [len(text) / 10 for text in completions]


class Kept(Recorded, GRPOModule):
    """Module that records each training step's return value and update."""

    stirred = 0.05

    def training_step(self, batch, batch_idx):
        self.out = super().training_step(batch, batch_idx)
        return self.out

    def log_train(self, values, rows):
        self.logged = [*getattr(self, "logged", []), {name: float(value) for name, value in values.items()}]
        super().log_train(values, rows)


@pytest.fixture
def module(base, sft_adapter):
    def make(kind=Kept, **options):
        settings = {"num_generations": 4, "max_new_tokens": 6, "weights": "fp32", "adapter": sft_adapter, "beta": 0.0}
        common = {"optimizer": SGD, "lr_scheduler": Constant, "max_grad_norm": 1e9}
        return kind(base, **{**common, **settings, **options})

    return make


class Given(Recorded, GRPOModule):
    """One update on given rollouts: three prompts with two completions each, of which one was cut."""

    stirred = 0.05
    rewards_given = torch.tensor([0.1, 0.7, 0.4, 0.4, 0.9, NAN])

    def training_step(self, batch, batch_idx):
        mask = torch.arange(4) < torch.tensor([4, 2, 1, 3, 2, 3]).unsqueeze(1)
        ids = torch.arange(20, 44).view(6, 4) * mask
        finished = torch.tensor([True, True, True, True, True, False])
        self.rollouts_given = Rollouts([[5, 6, 7], [8, 9], [11]], ids, mask, finished, [""] * 6, 2)
        self.metrics = self.update_given()

    def update_given(self):
        return self.best_of_group_update(self.rollouts_given, self.rewards_given)


class GivenAdvantages(Given):
    def update_given(self):
        return self.policy_update(self.rollouts_given, torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0, 0.0]))


class GivenSampler(Given):
    advantages_given = torch.tensor([1.0, -1.0, 0.5, 0.0, 0.0, 2.0])
    sampler_given = -6 + torch.linspace(-1.5, 1.5, 24).view(6, 4)

    def update_given(self):
        rollouts = replace(self.rollouts_given, sampler_logps=self.sampler_given)
        return self.policy_update(rollouts, self.advantages_given)


def test_samples_of_a_server_have_truncated_importance_weights(module) -> None:
    """The gradient is that of min(p / q, 2) A log p, by hand; the weights are those of the policy without dropout."""
    run = module(GivenSampler, num_generations=2, loss_type="dapo")
    fit(run, [[]], [Length()])
    policy, weights = run.policy, trained(run.policy)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(run.weights[0][name])
    given, total, ratios = run.rollouts_given, torch.zeros(()), []
    for row, advantage in enumerate(run.advantages_given.tolist()):
        length = int(given.completion_mask[row].sum())
        logps = plain_logps(policy.model, given.prompt_ids[row // 2], given.completion_ids[row, :length].tolist(), 0.8)
        ratio = (logps.detach() - run.sampler_given[row, :length]).exp()
        total = total - (ratio.clamp(max=2) * advantage * logps).sum() / 15
        ratios += ratio.tolist() if advantage else []
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(total, list(weights.values()))])
    assert relative(run.gradients[0], gradient) < 1e-5
    assert min(ratios) < 0.8 and max(ratios) > 2.5
    logged = {name: float(run.metrics[f"sampler_{name}"]) for name in ("ratio", "truncated", "kl")}
    count = len(ratios)
    assert logged["ratio"] == pytest.approx(sum(ratios) / count, rel=1e-4)
    assert logged["truncated"] == pytest.approx(sum(ratio > 2 for ratio in ratios) / count)
    assert logged["kl"] == pytest.approx(-sum(map(math.log, ratios)) / count, rel=1e-3)


def test_best_of_group_is_the_nll_of_the_best_where_rewards_differ(module) -> None:
    """Only the first prompt has a ranking: the second's rewards are equal, the third has one score."""
    run = module(Given, num_generations=2, loss_type="best_of_group")
    fit(run, [[]], [Length()])
    policy, weights = run.policy, trained(run.policy)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(run.weights[0][name])
    loss = -plain_logps(policy.model, [5, 6, 7], [24, 25], 0.8).sum() / 2
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(weights.values()))])
    assert run.metrics.keys() == {"loss", "grad_norm"}
    assert run.metrics["loss"].item() == pytest.approx(loss.item(), rel=1e-5)
    assert relative(run.gradients[0], gradient) < 1e-5
    # The same as the policy gradient with an advantage of 1 for the best, which is divided by all 15 tokens.
    dapo = module(GivenAdvantages, num_generations=2, loss_type="dapo")
    fit(dapo, [[]], [Length()])
    assert relative(run.gradients[0], dapo.gradients[0] * 15 / 2) < 1e-5


def test_best_of_group_keeps_grpos_kl(module) -> None:
    """With a KL, all rollouts are forwarded for it, and the gradient is the sum of the two."""
    runs = {}
    for kind, beta in ((Given, 0.0), (Given, 0.3), (GivenAdvantages, 0.3)):
        loss_type = "best_of_group" if kind is Given else "grpo"
        runs[kind, beta] = module(kind, num_generations=2, loss_type=loss_type, beta=beta)
        if kind is GivenAdvantages:
            runs[kind, beta].update_given = lambda r=runs[kind, beta]: r.policy_update(r.rollouts_given, torch.zeros(6))
        fit(runs[kind, beta], [[]], [Length()])
    best, with_kl, kl = runs.values()
    assert kl.gradients[0].norm() > 1e-3 and with_kl.metrics["kl"] > 0.01
    assert relative(with_kl.gradients[0], best.gradients[0] + kl.gradients[0]) < 1e-5
    assert with_kl.metrics["loss"].item() == pytest.approx((with_kl.metrics["best_nll"] + kl.metrics["loss"]).item())


class GivenTruncated(Given):
    rewards_given = torch.tensor([NAN, NAN, NAN, NAN, 0.3, 0.9])


def test_a_truncated_completion_is_not_chosen_if_it_is_masked(module) -> None:
    runs = {}
    for masked in (False, True):
        runs[masked] = module(
            GivenTruncated, num_generations=2, loss_type="best_of_group", mask_truncated_completions=masked
        )
        fit(runs[masked], [[]], [Length()])
    assert runs[False].gradients[0].norm() > 1e-3
    assert runs[True].gradients[0].abs().sum() == 0 and runs[True].metrics["loss"] == 0


@pytest.mark.parametrize("loss_type", ["best_of_group", "cpo"])
def test_a_whole_step_chooses_by_the_total_reward(module, monkeypatch, loss_type: str) -> None:
    """Samples and logged rewards are GRPO's; CPO's candidates also have the reference, scored as a completion."""
    plain, run = module(), module(loss_type=loss_type)
    given = {}
    name = "best_of_group_update" if loss_type == "best_of_group" else "preference_update"
    update = getattr(run, name)
    monkeypatch.setattr(run, name, lambda *args: given.update(args=args) or update(*args))
    for one in (plain, run):
        fit(one, [EXAMPLES], [Length(weight=2.0)])
    rollouts, rewards, references, *_ = given["args"]
    assert run.out["rollouts"].texts == plain.out["rollouts"].texts
    lengths = torch.tensor([len(text) / 5 for text in rollouts.texts])
    torch.testing.assert_close(run.out["rewards"], lengths)
    if loss_type == "cpo":
        own = torch.tensor([len(e.reference) / 5 for e in EXAMPLES])
        own[[len(ids) > 6 for ids in run.encode_references(EXAMPLES)]] = NAN
        assert own.isnan().any() and not own.isnan().all()
        expected = torch.cat([lengths.view(3, 4), own.unsqueeze(1)], 1).flatten()
        torch.testing.assert_close(rewards, expected, equal_nan=True)
        assert [bool(ids) for ids in references] == (~own.isnan()).tolist()
        assert {"preference_margin", "preference_accuracy"} <= run.logged[0].keys()
    else:
        torch.testing.assert_close(rewards, lengths)
    assert run.gradients[0].norm() > 1e-3


def test_shuffled_rewards_are_logged_as_they_were(module) -> None:
    """The gradient is another one, of the same rewards in another order, and the same in a second run."""
    runs = [module(), module(shuffle_rewards=True), module(shuffle_rewards=True)]
    for run in runs:
        fit(run, [EXAMPLES], [Length()])
    plain, shuffled, again = runs
    torch.testing.assert_close(shuffled.out["rewards"], plain.out["rewards"])
    assert relative(shuffled.gradients[0], plain.gradients[0]) > 0.1
    assert torch.equal(shuffled.gradients[0], again.gradients[0])


def test_the_references_weight_decays_to_zero_over_the_run(module) -> None:
    """In four steps: 0.4, 0.3, 0.2, 0.1. The first step is the constant schedule's to the last digit."""
    options = {"reference_nll_weight": 0.4, "max_new_tokens": 40}
    constant = module(**options)
    linear = module(**options, reference_nll_schedule="linear")
    for run in (constant, linear):
        fit(run, [EXAMPLES] * 4, [Length()])
    assert [row["reference_nll_weight"] for row in linear.logged] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert torch.equal(linear.gradients[0], constant.gradients[0])
    for row in linear.logged:
        total = row["policy_loss"] + row["reference_nll_weight"] * row["reference_nll"]
        assert row["loss"] == pytest.approx(total, rel=1e-5)
    assert all("reference_nll_weight" not in row for row in constant.logged)


def test_the_references_tokens_have_chords_weight(module) -> None:
    """The hybrid's gradient changes by w (phi SFT - SFT), with both from runs on the same references alone."""
    grpo = module(max_new_tokens=40)
    runs = {
        kind: module(max_new_tokens=40, reference_nll_weight=0.5, reference_token_weight=kind)
        for kind in ("none", "chord")
    }
    for run in (grpo, *runs.values()):
        fit(run, [EXAMPLES], [Length()])
    sft, chord = ((run.gradients[0] - grpo.gradients[0]) / 0.5 for run in runs.values())
    policy, weights = grpo.policy, trained(grpo.policy)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(grpo.weights[0][name])
    encoded = zip(policy_prompts := grpo.encode(EXAMPLES), grpo.encode_references(EXAMPLES), strict=True)
    logps = torch.cat([plain_logps(policy.model, prompt, ids) for prompt, ids in encoded])
    p = logps.detach().exp()
    for factor, ours in ((torch.ones_like(p), sft), (p * (1 - p), chord)):
        loss = -(factor * logps).sum() / len(p)
        gradient = torch.autograd.grad(loss, list(weights.values()), retain_graph=True)
        assert relative(ours, torch.cat([g.flatten() for g in gradient])) < 1e-4
    assert len(policy_prompts) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"loss_type": "best_of_group", "epsilon": 0.3},
            "epsilon: best_of_group has no importance ratio; leave it out",
        ),
        ({"loss_type": "cpo", "epsilon_high": 0.3}, "epsilon_high: cpo has no importance ratio"),
        ({"loss_type": "cpo", "importance_sampling_level": "sequence"}, "importance_sampling_level: cpo has no"),
        ({"loss_type": "cpo", "num_iterations": 2}, "num_iterations: 2: cpo makes one step per batch"),
        ({"loss_type": "cpo", "preference_beta": 0.0}, "preference_beta: 0 gives no preference; use e.g. 0.1"),
        ({"preference_beta": 0.2}, "preference_beta: grpo has no preferences"),
        ({"loss_type": "cpo", "scale_rewards": "none"}, "scale_rewards: cpo has no advantages; leave it out"),
        ({"loss_type": "best_of_group", "scale_rewards": "batch"}, "scale_rewards: best_of_group has no advantages"),
        (
            {"multi_objective_aggregation": "normalize_then_sum", "scale_rewards": "none"},
            "scale_rewards: none: normalize_then_sum divides by the standard deviation of the batch",
        ),
        ({"loss_type": "cispo", "epsilon_high": 5.0, "epsilon": 0.1}, "epsilon: 0.1: cispo has no smallest weight"),
        ({"loss_type": "cispo"}, "epsilon_high: null: for cispo it is the largest weight of a token itself"),
        ({"loss_type": "cispo", "epsilon_high": 0.28}, "epsilon_high: 0.28: for cispo it is .*; use e.g. 5.0"),
        ({"loss_type": "cispo", "epsilon_high": NAN}, "epsilon_high: nan: for cispo it is the largest weight"),
        ({"epsilon": -0.2}, "epsilon: -0.2 is not a width of the trust region; use e.g. 0.2"),
        ({"epsilon": NAN}, "epsilon: nan is not a width"),
        ({"epsilon_high": NAN}, "epsilon_high: nan is not a width of the trust region; use e.g. 0.28"),
        ({"epsilon_high": -0.1}, "epsilon_high: -0.1 is not a width"),
        ({"epsilon_high": float("inf"), "loss_type": "dapo"}, "epsilon_high: inf is not a width"),
        ({"rollout_rows": -3}, "rollout_rows: -3 is not a positive whole number; give 1 or more"),
        ({"beta": -0.1}, "beta: -0.1 is not a weight; use e.g. 0.04, or 0 for none"),
        ({"reference_nll_weight": NAN}, "reference_nll_weight: nan is not a weight"),
        ({"reference_nll_schedule": "linear"}, "reference_nll_schedule: linear: SFT's loss has no weight"),
        ({"reference_token_weight": "chord"}, "reference_token_weight: chord: SFT's loss has no weight"),
    ],
)
def test_settings_without_effect_are_refused(module, options, message) -> None:
    with pytest.raises(ValueError, match=rf"^model\.init_args\.{message}"):
        module(**options)
