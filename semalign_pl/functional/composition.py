"""Several rewards to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from semalign_pl.functional.advantages import group_advantages

Aggregation = Literal["sum_then_normalize", "normalize_then_sum"]


def total_reward(parts: Tensor, weights: Sequence[float], gates: Sequence[bool] | None = None) -> Tensor:
    """``gate * max(sum of weight * reward, 0)``; without gates, the plain sum.

    NaN means "not scored" and is left out, never counted as 0; a gate that was not scored stands open. With a gate the
    sum is held at 0 or above, or a closed gate would be the way out of a negative one (SG-SRL, arXiv 2605.29502).

    Args:
        parts: ``(rewards, rollouts)`` float32, NaN where a reward gave no score.
        weights: One weight a reward; a gate's is not used.
        gates: Which of the rewards multiply the sum instead of adding to it; ``None`` for none of them.

    Returns:
        ``(rollouts,)`` float32; NaN where no reward but gates gave a score.

    >>> total_reward(torch.tensor([[1.0, float("nan")], [1.0, 0.0]]), [1.5, 1.0])
    tensor([2.5000, 0.0000])
    >>> total_reward(torch.tensor([[1.0, 1.0, -1.0], [1.0, 0.0, 1.0]]), [1.5, 1.0], [False, True])
    tensor([1.5000, 0.0000, 0.0000])
    """
    parts = parts.float()
    gate = torch.tensor([False] * len(parts) if gates is None else list(gates), device=parts.device)
    added = parts[~gate]
    weight = torch.tensor(weights, dtype=torch.float32, device=parts.device)[~gate]
    total = (added * weight.unsqueeze(1)).nansum(0).masked_fill(added.isnan().all(0), float("nan"))
    return total.clamp(min=0.0) * parts[gate].nan_to_num(1.0).prod(0) if gate.any() else total


def normalised(parts: Tensor, num_generations: int) -> Tensor:
    """Each reward alone as its group's advantages, so that no reward's scale drowns another's.

    GDPO (arXiv 2601.05242). A reward that says nothing about a group adds nothing to it.

    Args:
        parts: ``(rewards, rollouts)`` float32, NaN where not scored; the rollouts of one prompt stand together.
        num_generations: Rollouts a prompt.

    Returns:
        The same shape; NaN stays NaN.

    >>> normalised(torch.tensor([[0.0, 2.0, 1.0, 1.0]]), 2)
    tensor([[-0.7071,  0.7071,  0.0000,  0.0000]])
    """
    advantages = group_advantages(parts.flatten(), num_generations).view_as(parts)
    return advantages.masked_fill(parts.isnan(), float("nan"))
