"""Values to log about the rollouts of a step and their rewards."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from semalign_pl.functional.advantages import signal
from semalign_pl.modules.stage import SumAndCount
from semalign_pl.types import Rollouts


def rollout_metrics(
    rollouts: Rollouts,
    rewards: Float[Tensor, " completions"],
    rewards_per_func: Mapping[str, Float[Tensor, " completions"]],
) -> dict[str, SumAndCount]:
    """Values of this rank's completions or groups, summed without NaNs, and their number; by log name.

    Args:
        rollouts: Completions of the step.
        rewards: Total reward per completion, NaN where not scored.
        rewards_per_func: Scores of each reward, by its name, NaN where it gave no score.
    """
    k = rollouts.num_generations
    groups = rewards.unflatten(0, (len(rewards) // k, k))
    squares = (groups - groups.mean(1, keepdim=True)).square()  # std would warn of a rank without groups
    distinct = {(i // k, text) for i, text in enumerate(rollouts.texts)}
    values = {
        "reward": rewards,
        **{f"reward/{name}": scores for name, scores in rewards_per_func.items()},
        **{f"signal/{name}": signal(scores, k) for name, scores in rewards_per_func.items()},
        "reward_std": (squares.sum(1) / (k - 1)).sqrt(),
        "completion_tokens": rollouts.completion_mask.sum(1),
        "ended_by_eos": rollouts.finished,
        "groups_without_signal": ~signal(rewards, k),
    }
    sums = {name: (value.nansum(), (~value.isnan()).sum()) for name, value in values.items()}
    return {**sums, "distinct_completions": (len(distinct), len(rewards))}
