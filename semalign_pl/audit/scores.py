"""Rewards of all texts of the audit, and their total as GRPO computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from semalign_pl.audit.groups import Group, slots
from semalign_pl.functional.composition import Aggregation, normalise_within_groups, total_reward
from semalign_pl.rewards.base import Reward
from semalign_pl.rewards.run_rewards import score_completions

GROUPS_AT_ONCE = 16
"""Number of groups that are scored together, as a training batch has several: LengthReward compares with the batch's
median."""


@dataclass(frozen=True)
class Scores:
    """Rewards of the texts of all groups.

    Attributes:
        per_reward: Scores of each reward, NaN where it gave none or the slot has no text.
        rewards: Rewards of the recipe.
        aggregation: Rule that combines them.
    """

    per_reward: Float[Tensor, "rewards groups slots"]
    rewards: Sequence[Reward]
    aggregation: Aggregation

    def total(self, without: int | None = None) -> Float[Tensor, "groups slots"]:
        """Total reward, NaN where there is none.

        Args:
            without: Index of a reward to leave out; ``None`` for the recipe's total.
        """
        kept = [index for index in range(len(self.rewards)) if index != without]
        flat = self.per_reward[kept].flatten(1)
        if self.aggregation == "normalize_then_sum":
            flat = normalise_within_groups(flat, self.per_reward.shape[2])
        weights, gates = [self.rewards[i].weight for i in kept], [self.rewards[i].gate for i in kept]
        return total_reward(flat, weights, gates).view(self.per_reward.shape[1:])


def score_groups(rewards: Sequence[Reward], groups: Sequence[Group], aggregation: Aggregation) -> Scores:
    """Score every text of every group by every reward; equal texts of a group are scored once.

    Args:
        rewards: Rewards of the recipe.
        groups: Groups of texts.
        aggregation: Rule that combines the rewards.
    """
    from rich.progress import track

    place = {slot: index for index, slot in enumerate(slots())}
    per_reward = torch.full((len(rewards), len(groups), len(place)), float("nan"))
    starts = range(0, len(groups), GROUPS_AT_ONCE)
    for start in track(starts, description="scoring", transient=True):
        chunk = groups[start : start + GROUPS_AT_ONCE]
        texts = [list(dict.fromkeys(group.texts.values())) for group in chunk]
        examples = [group.example for group, own in zip(chunk, texts, strict=True) for _ in own]
        scores = score_completions(rewards, examples, [text for own in texts for text in own])
        sizes = [len(own) for own in texts]
        for offset, (group, own, given) in enumerate(zip(chunk, texts, scores.split(sizes, dim=1), strict=True)):
            for slot, text in group.texts.items():
                per_reward[:, start + offset, place[slot]] = given[:, own.index(text)]
    return Scores(per_reward, rewards, aggregation)
