"""GRPO's loss, gradient and advantages equal those of TRL 1.16 for the same completions and settings."""

import functools
import random

import pytest
import torch
from helpers.tiny import Recorded, fit, plain_logps, relative, trained
from torch import Tensor

from semalign_pl.functional.advantages import group_advantages
from semalign_pl.modules import Constant, GRPOModule
from semalign_pl.rewards import Reward
from semalign_pl.types import Rollouts

pytest.importorskip("trl")
ADVANTAGES = torch.tensor([0.9, -0.4, 1.2, -0.8, 0.0, 0.5, -0.3, 0.6])
"""Advantages that do not sum to 0; otherwise the loss would be only a rounding error."""


class Unused(Reward):
    def score(self, *, completions, **_):
        raise AssertionError


class Given(Recorded, GRPOModule):
    """GRPO with given completions and advantages; all else is the module's own."""

    rollouts: Rollouts
    stirred = 0.05

    def training_step(self, batch, batch_idx):
        self.metrics = self.policy_update(self.rollouts, ADVANTAGES)


@pytest.fixture(scope="module")
def rollouts(tokenizer) -> Rollouts:
    """Two completions for each of four ragged prompts; six end in EOS at different lengths, two are cut at 9 tokens."""
    draw = random.Random(0)
    prompts = [[draw.randrange(3, 300) for _ in range(n)] for n in (6, 2, 11, 4)]
    mask = torch.arange(9) < torch.tensor([5, 9, 1, 3, 9, 2, 7, 4]).unsqueeze(1)
    ids = torch.tensor([[draw.randrange(3, 300) for _ in range(9)] for _ in range(8)])
    finished = torch.tensor([True, False, True, True, False, True, True, True])
    for row in range(8):
        if finished[row]:
            ids[row, mask[row].sum() - 1] = tokenizer.eos_token_id
            ids[row, mask[row].sum() :] = tokenizer.pad_token_id
    return Rollouts(prompts, ids, mask, finished, [""] * 8, 2)


@pytest.fixture(scope="module")
def ours(base, sft_adapter, rollouts):
    """Our update on the given completions, by number of iterations; the learning rate makes some ratios clip."""

    @functools.cache
    def run(iterations: int, **options) -> Given:
        sgd = functools.partial(torch.optim.SGD, lr=0.5)
        module = Given(
            base, sgd, 2, 0.8, beta=0.04, epsilon=0.2, num_iterations=iterations, weights="fp32", adapter=sft_adapter,
            lr_scheduler=Constant, max_grad_norm=1e9, micro_batch_tokens=20, **options,
        )  # fmt: skip
        module.rollouts = rollouts
        fit(module, [[]], [Unused()])
        return module

    return run


@pytest.fixture(scope="module")
def trl(base, sft_adapter, tokenizer, tmp_path_factory):
    """TRL's trainer with the same base, adapter and settings."""
    from datasets import Dataset
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    def scores(prompts, completions, **_):
        return trainer.given_scores[: len(completions)]

    config = GRPOConfig(
        str(tmp_path_factory.mktemp("trl")),
        loss_type="grpo",
        beta=0.04,
        epsilon=0.2,
        temperature=0.8,
        scale_rewards="group",
        use_bias_correction_kl=False,
        num_generations=4,
        per_device_train_batch_size=8,
        max_completion_length=3,
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to=[],
    )
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), sft_adapter, is_trainable=True)
    prompts = Dataset.from_dict({"prompt": ["a"] * 8})
    trainer = GRPOTrainer(model, scores, config, prompts, processing_class=tokenizer)
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def logps(model, rollouts: Rollouts) -> Tensor:
    """Log-probs of each completion by its own plain forward pass, 0 in padding."""
    out = torch.zeros(rollouts.completion_mask.shape)
    with torch.no_grad():
        for row, (ids, mask) in enumerate(zip(rollouts.completion_ids, rollouts.completion_mask, strict=True)):
            out[row, mask] = plain_logps(model, rollouts.prompt_ids[row // 2], ids[mask].tolist(), 0.8)
    return out


def theirs(trl, rollouts: Rollouts, weights: dict[str, Tensor], reference: Tensor, old: Tensor | None):
    """TRL's loss and gradient at these weights."""
    adapter = {name.removeprefix("model."): weight for name, weight in weights.items()}
    parameters = {name: p for name, p in trl.model.named_parameters() if ".default." in name}
    assert set(parameters) == set(adapter)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.grad = None
            parameter.copy_(adapter[name])
    longest = max(map(len, rollouts.prompt_ids))
    prompts = [p for p in rollouts.prompt_ids for _ in range(2)]
    inputs = {
        "prompt_ids": torch.tensor([[0] * (longest - len(p)) + p for p in prompts]),
        "prompt_mask": torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts]),
        "completion_ids": rollouts.completion_ids,
        "completion_mask": rollouts.completion_mask.int(),
        "advantages": ADVANTAGES,
        "ref_per_token_logps": reference,
        "num_items_in_batch": rollouts.completion_mask.sum(),
        **({} if old is None else {"old_per_token_logps": old}),
    }
    trl.model.train()
    loss = trl.compute_loss(trl.model, inputs)
    loss.backward()
    return loss.item(), torch.cat([parameters[name].grad.flatten() for name in adapter])


@pytest.fixture(scope="module")
def reference(ours, rollouts) -> Tensor:
    policy = ours(1).policy
    with policy.acting_as("reference"):
        return logps(policy.model, rollouts)


def test_on_policy(trl, ours, rollouts, reference) -> None:
    module = ours(1)
    loss, gradient = theirs(trl, rollouts, module.weights[0], reference, None)
    assert module.metrics["kl"] > 0.01 and gradient.norm() > 0.1
    assert module.metrics["loss"].item() == pytest.approx(loss, rel=1e-5)
    assert relative(module.gradients[0], gradient) < 1e-5


def test_off_policy(trl, ours, rollouts, reference) -> None:
    """In the second update on the same completions, ratios differ from 1, and some are clipped."""
    module = ours(2)
    losses, gradients, old = [], [], None
    for weights in module.weights:
        loss, gradient = theirs(trl, rollouts, weights, reference, old)
        losses.append(loss)
        gradients.append(gradient)
        old = logps(trl.model, rollouts) if old is None else old
    assert len(gradients) == 2 and 0.05 < module.metrics["clip_share"] < 0.45
    assert relative(gradients[1], gradients[0]) > 0.1
    assert module.metrics["loss"].item() == pytest.approx(sum(losses) / 2, rel=1e-5)
    for mine, gradient in zip(module.gradients, gradients, strict=True):
        assert relative(mine, gradient) < 1e-5


@pytest.mark.parametrize(
    ("loss_type", "level", "high"),
    [
        ("grpo", "sequence", 0.01),
        ("grpo", "token", 0.28),
        ("bnpo", "token", 0.2),
        ("dr_grpo", "token", 0.01),
        ("dapo", "token", 0.28),
        ("cispo", "token", 1.1),
    ],
)
def test_the_whole_family_off_policy(
    trl, ours, rollouts, reference, monkeypatch, loss_type: str, level: str, high: float
) -> None:
    module = ours(2, loss_type=loss_type, importance_sampling_level=level, epsilon_high=high)
    for name, value in (("loss_type", loss_type), ("importance_sampling_level", level), ("epsilon_high", high)):
        monkeypatch.setattr(trl, name, value)
    monkeypatch.setattr(trl, "max_completion_length", 256)
    _, first = theirs(trl, rollouts, module.weights[0], reference, None)
    old = logps(trl.model, rollouts)
    _, second = theirs(trl, rollouts, module.weights[1], reference, old)
    assert module.metrics["clip_share"] > 0.02 and relative(second, first) > 0.1
    for mine, gradient in zip(module.gradients, (first, second), strict=True):
        assert relative(mine, gradient) < 1e-5


def test_trls_bias_correction_is_another_gradient(trl, ours, rollouts, reference, monkeypatch) -> None:
    """TRL multiplies the KL by the ratio by default; we use DeepSeekMath's plain estimator."""
    assert type(trl.args).__dataclass_fields__["use_bias_correction_kl"].default is True
    monkeypatch.setattr(trl.args, "use_bias_correction_kl", True)
    module = ours(2)
    _, first = theirs(trl, rollouts, module.weights[0], reference, None)
    old = logps(trl.model, rollouts)
    _, second = theirs(trl, rollouts, module.weights[1], reference, old)
    assert relative(module.gradients[0], first) > 1e-3 and relative(module.gradients[1], second) > 1e-3


def test_advantages(trl) -> None:
    nan = float("nan")
    for scores in ([0.1, 0.9, 0.4, 0.2, 3.0, -1.0, 0.0, 2.5], [0.1, nan, 0.4, 0.2, nan, nan, 5.0, 2.0]):
        trl.given_scores = [None if score != score else score for score in scores]
        trl.model.eval()
        out = trl._generate_and_score_completions([{"prompt": prompt} for prompt in "aaaabbbb"])
        trl.model.train()
        mine = group_advantages(torch.tensor(scores), 4)
        torch.testing.assert_close(mine, out["advantages"], atol=1e-6, rtol=1e-6)


def test_the_weights_compared_are_all_that_train(trl, ours) -> None:
    names = {name.removeprefix("model.") for name in trained(ours(1).policy)}
    assert names == {name for name, p in trl.model.named_parameters() if p.requires_grad}
