"""Real GRPO training steps: the reference, the trained weights, micro-batches, custom rewards, refusals."""

import functools
import random

import pytest
import torch
from helpers.tiny import Recorded, fit, relative

from semalign_pl.engine.logprobs import compute_logprobs
from semalign_pl.engine.micro_batches import Completions
from semalign_pl.modules import Constant, GRPOModule, SFTModule
from semalign_pl.modules.rollout_metrics import rollout_metrics
from semalign_pl.policy.adapter import adapter_state
from semalign_pl.rewards import Reward
from semalign_pl.types import Example, Rollouts

PAIRS = [("书", "དེབ"), ("老师看书。", "ག"), ("山", "རི")]
EXAMPLES = [Example(str(i), zh, bo, {"zh": zh}) for i, (zh, bo) in enumerate(PAIRS)]
SGD = functools.partial(torch.optim.SGD, lr=0.5)
NAN = float("nan")


class Length(Reward):
    """The complete code of a user's own reward."""

    def score(self, *, completions, **_):
        return [len(text) / 10 for text in completions]


class Sometimes(Length):
    """Reward that scores only the first completion of each three, and records its arguments."""

    def score(self, *, prompts, completions, references, zh, **_):
        self.seen = prompts, references, zh
        return [len(text) / 10 if i % 3 == 0 else None for i, text in enumerate(completions)]


class Miscounting(Length):
    def score(self, *, completions, **_):
        return [1.0] * (len(completions) - 1)


class Kept(Recorded, GRPOModule):
    """Module that records the return value of each training step."""

    def training_step(self, batch, batch_idx):
        self.out = super().training_step(batch, batch_idx)
        return self.out


@pytest.fixture
def module(base, sft_adapter):
    """Factory of a small module that starts from the SFT adapter."""

    def make(**options) -> Kept:
        settings = {"num_generations": 4, "max_new_tokens": 6, "weights": "fp32", "adapter": sft_adapter}
        return Kept(base, **{"optimizer": SGD, "lr_scheduler": Constant, **settings, **options})

    return make


def test_the_reference_is_the_sft_policy_and_not_the_base(module) -> None:
    trained = module()
    trainer = fit(trained, [EXAMPLES], [Length()])
    assert abs(trainer.callback_metrics["train/kl"]) < 1e-6
    rollouts, policy = trained.out["rollouts"], trained.policy
    pairs = zip(rollouts.completion_ids, rollouts.completion_mask, strict=True)
    rows = Completions([p for p in rollouts.prompt_ids for _ in range(4)], [ids[mask].tolist() for ids, mask in pairs])
    scored = {}
    for role in ("base", "reference"):
        with policy.acting_as(role):
            scored[role] = compute_logprobs(policy, rows, 80)
    assert (scored["base"] - scored["reference"]).abs().max() > 0.1  # otherwise the two could not be told apart


def test_one_step_moves_the_policy_and_not_the_reference(module) -> None:
    trained = module()
    fit(trained, [EXAMPLES], [Length()])
    reference, policy = adapter_state(trained.policy, "reference"), adapter_state(trained.policy)
    before = {name.removeprefix("model.").replace(".default", ""): w for name, w in trained.weights[0].items()}
    assert set(before) == set(policy) == set(reference)
    assert all(torch.equal(reference[name], before[name]) for name in before)
    assert all(not torch.equal(policy[name], before[name]) for name in before)
    assert len(trained.gradients) == 1 and trained.gradients[0].norm() > 1e-3
    optimized = {id(p) for group in trained.optimizers().param_groups for p in group["params"]}
    assert optimized == {id(p) for p in trained.policy.parameters() if p.requires_grad}


def test_on_policy_the_loss_is_the_kl_alone(module) -> None:
    for beta in (0.0, 0.04):
        trained = module(beta=beta)
        trained.stirred = 0.05
        metrics = fit(trained, [EXAMPLES], [Length()]).callback_metrics
        assert metrics["train/clip_share"] == 0
        assert trained.gradients[0].norm() > 1e-2
        if beta == 0:
            assert abs(metrics["train/loss"]) < 1e-6 and "train/kl" not in metrics  # the reference is not computed
        else:
            assert metrics["train/kl"] > 0.01


@pytest.mark.parametrize("iterations", [1, 2])
def test_micro_batches_do_not_change_the_gradient(module, iterations: int) -> None:
    runs = {}
    for size in (1, 40, 10**4):  # every row alone, split groups, all at once
        runs[size] = module(micro_batch_tokens=size, num_iterations=iterations)
        runs[size].stirred = 0.05
        fit(runs[size], [EXAMPLES], [Length()])
        assert len(runs[size].gradients) == iterations
    assert len({tuple(run.out["rollouts"].texts) for run in runs.values()}) == 1
    for i in range(iterations):
        assert runs[10**4].gradients[i].norm() > 1e-3
        assert relative(runs[1].gradients[i], runs[10**4].gradients[i]) < 1e-4
        assert relative(runs[40].gradients[i], runs[10**4].gradients[i]) < 1e-4


def test_mixed_precision_keeps_adapters_and_gradients_in_float32(module) -> None:
    runs = {}
    for precision in ("32-true", "bf16-mixed"):
        trained = runs[precision] = module(temperature=0.01)  # almost greedy: the same completions
        trained.stirred = 0.05
        fit(trained, [EXAMPLES], [Length()], precision=precision)
        assert trained.gradients[0].dtype == torch.float32 and trained.gradients[0].norm() > 1e-3
        assert {p.dtype for p in trained.policy.parameters() if p.requires_grad} == {torch.float32}


def test_equal_rewards_without_kl_change_nothing(module) -> None:
    class Same(Length):
        def score(self, *, completions, **_):
            return [0.7] * len(completions)

    trained = module(beta=0.0)
    metrics = fit(trained, [EXAMPLES], [Same()]).callback_metrics
    assert trained.gradients[0].abs().sum() == 0 and metrics["train/groups_without_signal"] == 1
    assert metrics["train/entropy"].isnan() and metrics["train/clip_share"].isnan()  # not measured
    assert all(weight.grad is None for weight in trained.weights[0].values())  # they cost no forward pass either


def forwarded(policy) -> list[int]:
    """List that receives the tokens of each forward pass of the decoder with gradients."""
    seen: list[int] = []
    policy.decoder.register_forward_pre_hook(
        lambda _, __, kwargs: seen.append(kwargs["input_ids"].numel()) if torch.is_grad_enabled() else None,
        with_kwargs=True,
    )
    return seen


def test_groups_without_signal_cost_nothing_and_change_no_denominator(module) -> None:
    """Rewards differ only in the first group. With KL all groups are forwarded; without it the gradient is the same."""
    for loss_type in ("grpo", "dapo"):
        runs = {}
        for beta in (0.0, 1e-12):
            trained = module(beta=beta, loss_type=loss_type)
            trained.stirred = 0.05
            trainer = fit(trained, [EXAMPLES], [Length()])  # loads the policy
            del trainer
            rollouts = trained.out["rollouts"]
            advantages = torch.tensor([1.0, -0.5, 0.2, -0.7] + [0.0] * 8)
            seen = forwarded(trained.policy)
            trained.training_step = lambda *_, t=trained, r=rollouts, a=advantages: t.policy_update(r, a)
            fit(trained, [EXAMPLES], [Length()])
            runs[beta] = trained.gradients[-1], sum(seen)
        assert runs[0.0][0].norm() > 1e-3
        assert runs[0.0][1] < 0.5 * runs[1e-12][1]


def reference_gradient(module, **options):
    trained = module(**options)
    trained.stirred = 0.05
    fit(trained, [EXAMPLES], [Length()])
    return trained.gradients[0]


def test_the_hybrid_adds_sfts_gradient(module, base, sft_adapter) -> None:
    """The gradient is exactly GRPO + w SFT, with SFT's from SFTModule on the same batch and weights."""

    class Sft(Recorded, SFTModule):
        stirred = 0.05

    sft = Sft(base, SGD, lr_scheduler=Constant, max_new_tokens=40, weights="fp32", adapter=sft_adapter)
    fit(sft, [EXAMPLES])
    pure, hybrid = (
        reference_gradient(module, max_new_tokens=40, reference_nll_weight=weight, micro_batch_tokens=60)
        for weight in (0.0, 0.3)
    )
    assert sft.gradients[0].norm() > 0.1
    assert relative(hybrid, pure + 0.3 * sft.gradients[0]) < 1e-5


def test_truncated_completions_can_be_masked(module) -> None:
    """All completions are cut at one token, so neither the loss nor its denominators count any token."""
    trained = module(mask_truncated_completions=True, max_new_tokens=1)
    metrics = fit(trained, [EXAMPLES], [Length()]).callback_metrics
    assert metrics["train/ended_by_eos"] == 0
    assert metrics["train/loss"] == 0 and trained.gradients[0].abs().sum() == 0


def test_a_reward_that_scores_some_completions(module) -> None:
    """The reward gets its examples in the order of the completions; unscored completions use their other rewards."""
    trained, length, sometimes = module(), Length(weight=2.0), Sometimes(weight=0.5)
    metrics = fit(trained, [EXAMPLES], [length, sometimes]).callback_metrics
    assert sometimes.seen[0] == sometimes.seen[2] == [e.prompt for e in EXAMPLES for _ in range(4)]
    assert sometimes.seen[1] == [e.reference for e in EXAMPLES for _ in range(4)]
    lengths = torch.tensor([len(text) / 10 for text in trained.out["rollouts"].texts])
    factor = torch.tensor([2.5, 2.0, 2.0]).repeat(4)
    torch.testing.assert_close(trained.out["rewards"], lengths * factor)
    assert trained.out["rewards_per_func"]["sometimes"].isnan().tolist() == [False, True, True] * 4
    assert metrics["train/reward/sometimes"] == pytest.approx(lengths[::3].mean().item())
    assert metrics["train/reward/length"] == pytest.approx(lengths.mean().item())


class Even(Length):
    """A gate that every second completion passes."""

    gate = True

    def score(self, *, completions, **_):
        return [float(i % 2 == 0) for i in range(len(completions))]


def test_a_gate_multiplies(module) -> None:
    trained = module()
    fit(trained, [EXAMPLES], [Length(weight=2.0), Even(weight=5.0)])
    lengths = torch.tensor([len(text) / 10 for text in trained.out["rollouts"].texts])
    torch.testing.assert_close(trained.out["rewards"], 2 * lengths * torch.tensor([1.0, 0.0]).repeat(6))


def test_normalised_rewards_ignore_their_scale(module) -> None:
    """In a plain sum the larger scale decides; after normalisation the weights decide."""
    gradients = {}
    for aggregation in ("sum_then_normalize", "normalize_then_sum"):
        for scale in (0.1, 1000.0):

            class Fourth(Length):
                factor = scale

                def score(self, *, completions, **_):
                    return [self.factor * (i % 4 == 0) for i in range(len(completions))]

            trained = module(multi_objective_aggregation=aggregation, beta=0.0)
            fit(trained, [EXAMPLES], [Length(), Fourth()])
            gradients[aggregation, scale] = trained.gradients[0]
    small, large = gradients["normalize_then_sum", 0.1], gradients["normalize_then_sum", 1000.0]
    assert relative(small, large) < 2e-3  # because of the 1e-4 added to the standard deviation
    assert relative(gradients["sum_then_normalize", 0.1], gradients["sum_then_normalize", 1000.0]) > 0.1


def test_a_reward_that_scores_nothing_teaches_nothing(module) -> None:
    class Silent(Length):
        def score(self, *, completions, **_):
            return [None] * len(completions)

    trained = module(beta=0.0)
    fit(trained, [EXAMPLES], [Silent()])
    assert trained.out["rewards"].isnan().all() and trained.gradients[0].abs().sum() == 0


def test_the_values_of_ranks_add_up_to_those_of_all() -> None:
    """Five groups on three ranks: one has none, one has no score at all, and some completions lack one."""
    rewards = torch.tensor([0.1, 0.7, 0.4, 0.4, NAN, 0.9, NAN, NAN, NAN, NAN])
    mask = torch.arange(4) < torch.tensor([4, 2, 1, 3, 2, 3, 1, 1, 4, 2]).unsqueeze(1)
    texts = ["a", "b", "c", "c", "a", "d", "e", "e", "f", "g"]

    def metrics(start: int, end: int) -> torch.Tensor:
        rows = slice(2 * start, 2 * end)
        prompts = [[5]] * (end - start)
        rollouts = Rollouts(prompts, mask[rows].long(), mask[rows], mask[rows, 1], texts[rows], 2)
        pairs = rollout_metrics(rollouts, rewards[rows], {"length": rewards[rows]})
        assert pairs.keys() >= {"reward", "reward/length", "signal/length", "ended_by_eos", "distinct_completions"}
        return torch.tensor([[float(number) for number in pair] for pair in pairs.values()])

    torch.testing.assert_close(metrics(0, 3) + metrics(3, 3) + metrics(3, 5), metrics(0, 5))
    assert not metrics(3, 3).any() and (metrics(0, 5)[:, 1] > 0).all()


def test_the_worlds_randomness_does_not_change_a_step(module) -> None:
    texts = set()
    for seed in (1, 2):
        torch.manual_seed(seed)
        random.seed(seed)
        trained = module()
        fit(trained, [EXAMPLES], [Length()])
        texts.add(tuple(trained.out["rollouts"].texts))
    assert len(texts) == 1


def test_refusals(module) -> None:
    with pytest.raises(ValueError, match="^trainer.callbacks: GRPO needs a reward"):
        fit(module(), [EXAMPLES])
    with pytest.raises(ValueError, match="^trainer.callbacks: GRPO needs a reward .a gate alone is none"):
        fit(module(), [EXAMPLES], [Even()])
    with pytest.raises(ValueError, match=r"^model\.init_args\.multi_objective_aggregation: a gate multiplies"):
        fit(module(multi_objective_aggregation="normalize_then_sum"), [EXAMPLES], [Length(), Even()])
    with pytest.raises(ValueError, match="^Miscounting.score returned .*11.* scores for 12 completions"):
        fit(module(), [EXAMPLES], [Miscounting()])
    with pytest.raises(ValueError, match=r"^model\.init_args\.temperature: 0\.0 gives K equal samples"):
        module(temperature=0.0)
    with pytest.raises(ValueError, match=r"^model\.init_args\.num_generations: a group of 1 has no signal"):
        module(num_generations=1)
    with pytest.raises(ValueError, match=r"^model\.init_args\.num_iterations: 0: nothing would be trained"):
        module(num_iterations=0)
    for norm in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=rf"^model\.init_args\.max_grad_norm: {norm:g}: .* or \.inf to clip none"):
            module(max_grad_norm=norm)
    with pytest.raises(ValueError, match=r"^model\.init_args\.micro_batch_tokens: 0 "):
        module(micro_batch_tokens=0)
