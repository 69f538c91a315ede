"""Total reward from several rewards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from semalign_pl.functional.advantages import group_advantages

Aggregation = Literal["sum_then_normalize", "normalize_then_sum"]


def total_reward(
    rewards_per_func: Float[Tensor, "rewards completions"],
    weights: Sequence[float],
    gates: Sequence[bool] | None = None,
) -> Float[Tensor, " completions"]:
    """``gate * max(sum of weight * reward, 0)``; without gates, the plain sum.

    NaN means "not scored" and is left out, never counted as 0; a gate without a score is 1. With a gate the sum is
    clamped at 0, because otherwise a closed gate would remove a negative sum (SG-SRL, arXiv 2605.29502).

    Args:
        rewards_per_func: Scores of each reward, NaN where it gave none.
        weights: Weight of each reward; the weights of gates are not used.
        gates: Flags of the rewards that multiply the sum instead of adding to it; ``None`` for no gates.

    Returns:
        Total reward, float32; NaN where no reward except gates gave a score.

    >>> total_reward(torch.tensor([[1.0, float("nan")], [1.0, 0.0]]), [1.5, 1.0])
    tensor([2.5000, 0.0000])
    >>> total_reward(torch.tensor([[1.0, 1.0, -1.0], [1.0, 0.0, 1.0]]), [1.5, 1.0], [False, True])
    tensor([1.5000, 0.0000, 0.0000])
    """
    rewards = rewards_per_func.float()
    # Lists of indices: with a mask as an index, the CPU would wait for the GPU to count its rows.
    gate = [] if gates is None else [row for row, is_gate in enumerate(gates) if is_gate]
    plain = [row for row in range(len(rewards)) if row not in gate]
    added = rewards[plain]
    weight = torch.tensor([weights[row] for row in plain], dtype=torch.float32, device=rewards.device)
    total = (added * weight.unsqueeze(1)).nansum(0).masked_fill(added.isnan().all(0), float("nan"))
    return total.clamp(min=0.0) * rewards[gate].nan_to_num(1.0).prod(0) if gate else total


def normalise_within_groups(
    rewards_per_func: Float[Tensor, "rewards completions"], num_generations: int
) -> Float[Tensor, "rewards completions"]:
    """Group-relative advantages of each reward separately, so that the scale of one reward cannot hide another.

    GDPO (arXiv 2601.05242). A reward that is equal within a group adds nothing to that group.

    Args:
        rewards_per_func: Scores of each reward, NaN where not scored; the completions of one prompt are adjacent.
        num_generations: Number of completions per prompt.

    Returns:
        Normalised scores, float32; NaN stays NaN.

    >>> normalise_within_groups(torch.tensor([[0.0, 2.0, 1.0, 1.0]]), 2)
    tensor([[-0.7071,  0.7071,  0.0000,  0.0000]])
    """
    advantages = group_advantages(rewards_per_func.flatten(), num_generations).view_as(rewards_per_func)
    return advantages.masked_fill(rewards_per_func.isnan(), float("nan"))
