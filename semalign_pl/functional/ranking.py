"""Ranking of the completions of one prompt by their rewards, and the losses that use only the ranking."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from semalign_pl.functional.advantages import signal


class Ranking(NamedTuple):
    """Best and worst completion of each group.

    Attributes:
        best: Index of the completion with the highest reward, the first of equal ones.
        worst: Index of the completion with the lowest reward, the first of equal ones.
        differ: Mask of the groups whose rewards differ; in the others no completion is better than another.
    """

    best: Int[Tensor, " groups"]
    worst: Int[Tensor, " groups"]
    differ: Bool[Tensor, " groups"]


def rank_groups(rewards: Float[Tensor, " completions"], group_size: int) -> Ranking:
    """Best and worst completion of each group; indices count from the first completion of the first group.

    Args:
        rewards: Rewards; NaN for completions that are not ranked. Those of one group are adjacent.
        group_size: Number of completions per group.

    >>> rank_groups(torch.tensor([0.1, 0.9, 0.5, 0.3, 0.3, float("nan")]), 3)
    Ranking(best=tensor([1, 3]), worst=tensor([0, 3]), differ=tensor([ True, False]))
    """
    groups = rewards.float().view(-1, group_size)
    first = torch.arange(len(groups), device=rewards.device) * group_size
    best = groups.nan_to_num(float("-inf")).argmax(1) + first
    worst = groups.nan_to_num(float("inf")).argmin(1) + first
    return Ranking(best, worst, signal(rewards, group_size))


def append_to_groups(
    rewards: Float[Tensor, "rewards completions"], group_size: int, extra: Float[Tensor, "rewards groups extra"]
) -> Float[Tensor, "rewards groups candidates"]:
    """Rewards by group, with those of further completions at the end of each group.

    Args:
        rewards: Rewards; those of one group are adjacent.
        group_size: Number of completions per group.
        extra: Rewards of the completions to add to each group; there may be none.

    >>> append_to_groups(torch.tensor([[0.1, 0.2, 0.3, 0.4]]), 2, torch.tensor([[[0.8], [0.9]]]))
    tensor([[[0.1000, 0.2000, 0.8000],
             [0.3000, 0.4000, 0.9000]]])
    """
    return torch.cat([rewards.view(len(rewards), -1, group_size), extra], 2)


def shuffle_within_groups(rewards: Float[Tensor, " completions"], group_size: int, seed: int) -> Tensor:
    """Rewards in a random order within each group: a control that has the same rewards, and no information.

    Args:
        rewards: Rewards; those of one group are adjacent.
        group_size: Number of completions per group.
        seed: Seed of the order.
    """
    groups = rewards.view(-1, group_size)
    order = torch.rand(groups.shape, generator=torch.Generator().manual_seed(seed)).argsort(1)
    return groups.gather(1, order.to(rewards.device)).view(-1)


class PairLoss(NamedTuple):
    """Loss of pairs of completions, and its derivative.

    Attributes:
        loss: Loss per pair.
        slope: Derivative of the loss with respect to the log-prob of the rejected completion; that with respect to the
            preferred completion is its negative.
    """

    loss: Float[Tensor, " pairs"]
    slope: Float[Tensor, " pairs"]


def preference_loss(
    preferred_logps: Float[Tensor, " pairs"], rejected_logps: Float[Tensor, " pairs"], beta: float
) -> PairLoss:
    """CPO's preference loss, ``-log sigmoid(beta (log p(preferred) - log p(rejected)))`` (arXiv 2401.08417, eq. 3).

    Args:
        preferred_logps: Log-prob of each preferred completion, summed over its tokens.
        rejected_logps: Log-prob of each rejected completion, summed over its tokens.
        beta: Factor on the difference.

    >>> preference_loss(torch.tensor([-10.0]), torch.tensor([-10.0]), 0.1)
    PairLoss(loss=tensor([0.6931]), slope=tensor([0.0500]))
    """
    difference = beta * (preferred_logps - rejected_logps)
    return PairLoss(-F.logsigmoid(difference), beta * torch.sigmoid(-difference))
