"""Values to log about the rollouts of a step and their rewards."""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor

from semalign_pl.functional.advantages import signal
from semalign_pl.types import Rollouts


def rollout_metrics(
    rollouts: Rollouts,
    rewards: Float[Tensor, " completions"],
    rewards_per_func: Mapping[str, Float[Tensor, " completions"]],
    signal_shares: Mapping[str, Float[Tensor, ""]],
) -> dict[str, Tensor | float]:
    """Means over a step's completions, by log name.

    Args:
        rollouts: Completions of the step.
        rewards: Total reward per completion, NaN where not scored.
        rewards_per_func: Scores of each reward, by its name, NaN where it gave no score.
        signal_shares: Share of the groups in which a reward's scores differ, by its name.
    """
    k = rollouts.num_generations
    distinct = {(i // k, text) for i, text in enumerate(rollouts.texts)}
    return {
        "reward": rewards.nanmean(),
        **{f"reward/{name}": scores.nanmean() for name, scores in rewards_per_func.items()},
        **{f"signal/{name}": share for name, share in signal_shares.items()},
        "reward_std": rewards.unflatten(0, (len(rewards) // k, k)).std(1).nanmean(),
        "completion_tokens": rollouts.completion_mask.sum(1).float().mean(),
        "ended_by_eos": rollouts.finished.float().mean(),
        "groups_without_signal": 1 - signal(rewards, k).float().mean(),
        "distinct_completions": len(distinct) / len(rewards) if len(rewards) else float("nan"),
    }
