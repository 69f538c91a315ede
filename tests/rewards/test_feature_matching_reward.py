"""FeatureMatchingReward: features of the bare base against a plain forward, groups of prompts, and a real step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.tiny import CPU, Batches, stir
from lightning.pytorch import LightningModule, Trainer
from transformers import AutoModelForCausalLM

from semalign_pl.functional.feature_matching import feature_matching_rewards
from semalign_pl.modules import GRPOModule
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.rewards import FeatureMatchingReward
from semalign_pl.types import Example

EXAMPLES = [Example("a", "翻译：老师看书。", "དགེ་རྒན་གྱིས་དཔེ་ཆ་བལྟས།"), Example("b", "翻译：学生吃饭。", "སློབ་མས་ཁ་ལག་བཟས།")]
TEXTS = ["དགེ་རྒན་དཔེ་ཆ་བལྟས།", "སློབ་མ།", "老师看书。", "སློབ་མས་ཁ་ལག་བཟས།", "", "ཁ་ལག་ཁ་ལག་ཁ་ལག"]


@pytest.fixture
def policy(base) -> Policy:
    return stir(load_policy(base, "fp32", None, None, CPU), seed=3, scale=0.5)


def connected(policy: Policy, **options) -> FeatureMatchingReward:
    reward = FeatureMatchingReward(**options)
    reward.connect(policy, lambda batch: [policy.encoder.encode_prompt(e.policy_prompt, 64) for e in batch])
    return reward


def plain_features(base: str, policy: Policy, example: Example, text: str) -> torch.Tensor:
    """Features of one text by transformers alone: no padding, no adapter, no batch."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    prompt = policy.encoder.encode_prompt(example.prompt, 64)
    ids = torch.tensor([prompt + policy.encoder.encode_completion(text)])
    with torch.no_grad():
        states = model(ids, output_hidden_states=True).hidden_states
    depth = len(states) - 1
    means = [states[round(share * depth)][0, len(prompt) :].mean(0) for share in (0.25, 0.5, 0.75)]
    return torch.cat([mean / mean.norm() for mean in means]) / 3**0.5


def test_features_are_the_bare_bases(base, policy) -> None:
    found = connected(policy).features(EXAMPLES[0], TEXTS)
    expected = [plain_features(base, policy, EXAMPLES[0], text) for text in (EXAMPLES[0].reference, *TEXTS)]
    torch.testing.assert_close(found, torch.stack(expected), atol=2e-5, rtol=0)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(7))


@pytest.mark.parametrize("whiten", [True, False])
def test_each_prompts_completions_are_one_group(policy, whiten) -> None:
    reward = connected(policy, whiten=whiten, diversity=0.5)
    scores = reward([example for example in EXAMPLES for _ in range(3)], TEXTS)
    for at, example in enumerate(EXAMPLES):
        features = reward.features(example, TEXTS[3 * at : 3 * at + 3])
        expected = feature_matching_rewards(features[1:], features[0], 0.5, whiten)
        torch.testing.assert_close(scores[3 * at : 3 * at + 3], expected, atol=1e-4, rtol=0)


def test_a_row_that_is_drawn_twice_is_two_groups(policy) -> None:
    reward = connected(policy)
    again = replace(EXAMPLES[0])  # each draw reads the row anew
    scores = reward([EXAMPLES[0]] * 3 + [again] * 3, TEXTS)
    expected = torch.cat([reward([EXAMPLES[0]] * 3, TEXTS[:3]), reward([EXAMPLES[0]] * 3, TEXTS[3:])])
    assert torch.equal(scores, expected)
    texts = {"prompts": [EXAMPLES[0].prompt] * 3, "references": [EXAMPLES[0].reference] * 3}
    assert torch.equal(reward.score(**texts, completions=TEXTS[:3]), expected[:3])


def test_scores_do_not_depend_on_the_trainers_precision(policy) -> None:
    reward = connected(policy)
    exact = reward(EXAMPLES[:1] * 6, TEXTS)
    with torch.autocast("cpu", torch.bfloat16):  # as in a training step with bf16-mixed
        assert torch.equal(reward(EXAMPLES[:1] * 6, TEXTS), exact)


def test_the_reference_earns_most_of_its_group(policy) -> None:
    scores = connected(policy, whiten=False, diversity=0.0)([EXAMPLES[1]] * 3, TEXTS[3:])
    assert scores.argmax() == 0 and scores[0] == pytest.approx(2.0, abs=1e-5)


def test_the_policys_own_tokens_are_scored(policy) -> None:
    reward = connected(policy, whiten=False)
    ids = [policy.encoder.encode_completion(text) for text in TEXTS[:3]]
    other = [*ids[:2], ids[0]]
    rows = [EXAMPLES[0]] * 3
    assert torch.equal(reward(rows, TEXTS[:3], ids), reward(rows, TEXTS[:3]))
    assert not torch.equal(reward(rows, TEXTS[:3], other), reward(rows, TEXTS[:3]))


def test_no_reference_is_no_score_and_the_policy_is_left_as_it_was(policy) -> None:
    policy.train()
    active = {name: (m.training, getattr(m, "_disable_adapters", None)) for name, m in policy.named_modules()}
    assert connected(policy)([Example("c", "翻译：", " ")] * 2, TEXTS[:2]).isnan().all()
    connected(policy)(EXAMPLES[:1] * 2, TEXTS[:2])
    assert {name: (m.training, getattr(m, "_disable_adapters", None)) for name, m in policy.named_modules()} == active


def test_grpo_trains_on_it(base, tmp_path) -> None:
    reward = FeatureMatchingReward()
    module = GRPOModule(
        base, weights="fp32", num_generations=4, temperature=1.0, top_p=1.0, max_prompt_tokens=64, max_new_tokens=6,
        optimizer=lambda p: torch.optim.AdamW(p, lr=1e-2),
    )  # fmt: skip
    trainer = Trainer(
        default_root_dir=tmp_path, accelerator="cpu", max_steps=2, logger=False, callbacks=[reward],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=Batches([EXAMPLES, EXAMPLES]))
    logged = trainer.callback_metrics
    assert logged["train/signal/feature_matching"] == 1 and logged["train/grad_norm"] > 0
    plain = LightningModule()
    with pytest.raises(ValueError, match="FeatureMatchingReward needs a module with a policy and a method encode"):
        reward.on_fit_start(trainer, plain)


def test_a_negative_diversity_is_refused() -> None:
    with pytest.raises(ValueError, match="FeatureMatchingReward.diversity: -1 would reward equal samples"):
        FeatureMatchingReward(diversity=-1)


def test_its_recipe_changes_only_the_reward_for_meaning() -> None:
    from semalign_pl.cli.parsed_recipe import parse_recipe

    configs = Path(__file__).parents[2] / "configs"
    method = ["--config", str(configs / "quickstart/semantic_grpo.yaml")]
    ours = parse_recipe([*method, "--config", str(configs / "methods/ebft.yaml")]).settings
    plain = parse_recipe(method).settings
    assert ours.model == plain.model and ours.data == plain.data
    assert [c.class_path.split(".")[-1] for c in ours.trainer.callbacks[:2]] == [
        "FeatureMatchingReward",
        "LanguageReward",
    ]
    assert ours.trainer.callbacks[1:] == plain.trainer.callbacks[1:]
    assert ours.trainer.callbacks[0].init_args.weight == plain.trainer.callbacks[0].init_args.weight
