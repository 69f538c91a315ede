"""Rewards of a recipe, made ready to score without a trainer and without the policy."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from semalign_pl.audit.groups import DRAFTS, LEVELS, Group
from semalign_pl.cli.parsed_recipe import ParsedRecipe
from semalign_pl.functional.composition import Aggregation
from semalign_pl.modules import GRPOModule
from semalign_pl.policy.load import Weights, load_policy
from semalign_pl.rewards import FeatureMatchingReward, LanguageReward, Reward, SemanticReward
from semalign_pl.rewards.run_rewards import check_rewards
from semalign_pl.types import Example


def ready_rewards(recipe: ParsedRecipe, groups: Sequence[Group]) -> tuple[list[Reward], Aggregation, list[str]]:
    """Instantiate the rewards of a recipe.

    A tau that is calibrated on the policy's completions when training starts is calibrated on the drafts instead. For a
    reward by the base's own features, the frozen base is loaded, and no adapter.

    Args:
        recipe: Parsed recipe.
        groups: Texts of the audit.

    Returns:
        Rewards, the rule that combines them, and notes for the user.

    Raises:
        ValueError: If the recipe does not train with rewards, or its rewards are refused by GRPO.
    """
    module = recipe.make_module()
    if not isinstance(module, GRPOModule):
        raise ValueError(
            f"--config: the recipe trains {type(module).__name__}, which uses no rewards; give a recipe of GRPOModule"
        )
    rewards = [reward for reward in recipe.make_callbacks(Reward) if isinstance(reward, Reward)]
    check_rewards(rewards, module.aggregation)
    notes = []
    for reward in rewards:
        if isinstance(reward, FeatureMatchingReward):
            notes.append(_connect_base(reward, module))
        if isinstance(reward, SemanticReward) and reward.calibration is not None:
            drafts = [
                (group.example, group.texts[n, level]) for group in groups for level in LEVELS[1:] for n in DRAFTS
            ]
            cosines = reward.cosines([example for example, _ in drafts], [text for _, text in drafts])
            reward.tau = float(cosines.double().quantile(reward.calibration.quantile))
            notes.append(
                f"tau is {reward.tau:.4f}, calibrated on the drafts; training calibrates it on the policy's texts"
            )
        if isinstance(reward, LanguageReward) and (warning := reward.check_references([g.example for g in groups])):
            notes.append(warning)
    return rewards, module.aggregation, notes


def _connect_base(reward: FeatureMatchingReward, module: GRPOModule) -> str:
    """Load the frozen base on the CPU for a reward by its features, and return a note."""
    weights: Weights = "fp32" if module.weights == "fp32" else "bf16"  # nf4 needs a GPU
    cpu = torch.device("cpu")
    policy = load_policy(module.base, weights, None, None, cpu, chat_template=module.chat_template)

    def encode(batch: list[Example]) -> list[list[int]]:
        return policy.encoder.encode_prompts([e.policy_prompt for e in batch], module.max_prompt_tokens)[0]

    reward.connect(policy, encode)
    return f"the features of {reward.name!r} are those of the frozen base {module.base} in {weights}, on the CPU"
