"""Group-relative advantages from rewards."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Scale = Literal["group", "batch", "none"]
EQUAL_REWARDS = 1e-4
"""Range of rewards below which a group counts as equal: the float noise of cosines is no signal."""


def group_advantages(
    rewards: Float[Tensor, " completions"], num_generations: int, scale: Scale = "group", batch_std: float = 1.0
) -> Float[Tensor, " completions"]:
    """``(r - mean) / (std + 1e-4)`` with the mean of each group (DeepSeekMath, arXiv 2402.03300, section 4.1.2).

    The standard deviation is the sample's (n - 1), as in TRL. A group of one, a group of equal rewards, and a
    completion without a reward get exactly 0. Completions without a reward do not count in their group's mean.

    Args:
        rewards: Rewards; the completions of one prompt are adjacent. NaN means not scored.
        num_generations: Number of completions per prompt.
        scale: Standard deviation to divide by: the ``group``'s, the ``batch``'s (arXiv 2508.08221), or ``none``, as
            dividing favours easy and hard prompts (Dr. GRPO, arXiv 2503.20783).
        batch_std: Standard deviation of the batch, for ``scale="batch"``.

    Returns:
        Advantage per completion, float32.

    >>> group_advantages(torch.tensor([0.0, 1.0, 0.5, 0.5]), 2)
    tensor([-0.7070,  0.7070,  0.0000,  0.0000])
    >>> group_advantages(torch.tensor([0.0, 1.0, 0.5, 0.5]), 2, "none")
    tensor([-0.5000,  0.5000,  0.0000,  0.0000])
    """
    groups = rewards.float().unflatten(0, (len(rewards) // num_generations, num_generations))
    scored = ~groups.isnan()
    count = scored.sum(1, keepdim=True)
    values = groups.nan_to_num(0.0)
    mean = values.sum(1, keepdim=True) / count.clamp(min=1)
    centred = torch.where(scored, values - mean, torch.zeros_like(values))
    if scale == "group":
        std = (centred.square().sum(1, keepdim=True) / (count - 1).clamp(min=1)).sqrt()
        centred = centred / (std + 1e-4)
    elif scale == "batch":
        centred = centred / (batch_std + 1e-4)
    return torch.where(signal(rewards, num_generations).unsqueeze(1), centred, 0.0).view(-1)


def signal(rewards: Float[Tensor, " completions"], num_generations: int) -> Bool[Tensor, " groups"]:
    """Mask of the groups whose rewards differ by more than ``EQUAL_REWARDS``; the others give no gradient.

    Args:
        rewards: Rewards, NaN where not scored; the completions of one prompt are adjacent.
        num_generations: Number of completions per prompt.

    >>> signal(torch.tensor([0.0, 1.0, 0.5, 0.5]), 2)
    tensor([ True, False])
    """
    groups = rewards.float().unflatten(0, (len(rewards) // num_generations, num_generations))
    highest = groups.nan_to_num(float("-inf")).amax(1)
    lowest = groups.nan_to_num(float("inf")).amin(1)
    return (highest - lowest) > EQUAL_REWARDS
