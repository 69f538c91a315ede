"""Rewards of all texts of the audit, and their total as GRPO computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from semalign_pl.audit.groups import Group, Slot, slots
from semalign_pl.functional.composition import Aggregation, normalise_within_groups, total_reward
from semalign_pl.rewards.base import Reward
from semalign_pl.rewards.run_rewards import score_completions

GROUPS_AT_ONCE = 16
"""Number of groups that are scored together, as a training batch has several: LengthReward compares with the batch's
median."""


def _references(group: Group) -> dict[Slot, str]:
    return {slot: text for slot, text in group.texts.items() if not slot[1]}


def _drafts(group: Group) -> dict[Slot, str]:
    return {slot: text for slot, text in group.texts.items() if slot[1]}


SETS = (_references, _drafts)
"""Texts of a group that are scored as the completions of one prompt."""


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

    The reference and what spoilers make of it are scored apart from the drafts: a policy rarely writes the reference
    itself, and rewards that compare the completions of a prompt would measure the drafts by it.

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
        chunk = [(row, choose) for row in range(start, min(start + GROUPS_AT_ONCE, len(groups))) for choose in SETS]
        texts = [list(dict.fromkeys(choose(groups[row]).values())) for row, choose in chunk]
        named = [replace(groups[row].example, id=f"{groups[row].example.id} {at}") for at, (row, _) in enumerate(chunk)]
        examples = [example for example, own in zip(named, texts, strict=True) for _ in own]
        scores = score_completions(rewards, examples, [text for own in texts for text in own])
        for (row, choose), own, given in zip(chunk, texts, scores.split(list(map(len, texts)), dim=1), strict=True):
            for slot, text in choose(groups[row]).items():
                per_reward[:, row, place[slot]] = given[:, own.index(text)]
    return Scores(per_reward, rewards, aggregation)
