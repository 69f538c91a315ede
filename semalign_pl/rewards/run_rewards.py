"""All rewards of a run: their scores, and warnings about rewards without signal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from semalign_pl.functional.advantages import EQUAL_REWARDS, signal
from semalign_pl.functional.composition import Aggregation
from semalign_pl.rewards.base import Reward
from semalign_pl.types import Example

log = logging.getLogger(__name__)

SILENT_STEPS = 20
"""Number of steps without any signal after which a warning names the reward."""


def check_rewards(rewards: Sequence[Reward], aggregation: Aggregation) -> None:
    """Refuse a run without rewards, with two rewards of one name, or with gates on normalised rewards.

    Args:
        rewards: Rewards of the run.
        aggregation: Rule that combines them into one reward.

    Raises:
        ValueError: If the rewards are refused; the message names the fault and the remedy.
    """
    if all(reward.gate for reward in rewards):
        raise ValueError(
            "trainer.callbacks: GRPO needs a reward (a gate alone is none); list e.g. "
            "{class_path: SemanticReward, init_args: {encoder: …}}"
        )
    names = [reward.name for reward in rewards]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ValueError(
            f"trainer.callbacks: two rewards are named {repeated!r}, so one would hide the other in logs and samples; "
            "leave one out, or give it a class of its own"
        )
    if aggregation == "normalize_then_sum" and any(reward.gate for reward in rewards):
        raise ValueError(
            "model.init_args.multi_objective_aggregation: a gate multiplies rewards, and normalised ones are "
            "negative half of the time; use sum_then_normalize, or set gate: false"
        )


def score_completions(
    rewards: Sequence[Reward],
    examples: Sequence[Example],
    completions: Sequence[str],
    completion_ids: Sequence[list[int]] | None = None,
) -> Float[Tensor, "rewards completions"]:
    """Score completions by all rewards; asynchronous ones run concurrently with the others.

    Args:
        rewards: Rewards of the run.
        examples: Example of each completion.
        completions: Texts to score.
        completion_ids: Token ids of each completion.

    Returns:
        Scores, float32 on CPU, NaN where a reward gave none.
    """
    if not completions:  # a rank whose rows of this step are all replayed
        return torch.zeros(len(rewards), 0)
    results = [reward.start_scoring(examples, completions, completion_ids) for reward in rewards]
    return torch.stack([result() for result in results])


def signal_shares(
    rewards_per_func: Float[Tensor, "rewards completions"], num_generations: int
) -> Float[Tensor, " rewards"]:
    """Share of groups in which a reward's own scores differ by more than float noise, per reward.

    Args:
        rewards_per_func: Scores of each reward, NaN where not scored; the completions of one prompt are adjacent.
        num_generations: Number of completions per prompt.

    >>> signal_shares(torch.tensor([[0.0, 1.0, 0.5, 0.5], [0.9, 0.9000001, 1.0, 1.0]]), 2)
    tensor([0.5000, 0.0000])
    """
    groups = rewards_per_func.shape[1] // num_generations
    return signal(rewards_per_func.flatten(), num_generations).view(len(rewards_per_func), groups).float().mean(1)


class NoSignalWarnings:
    """Warnings, once per reward, about rewards without any signal for ``SILENT_STEPS`` steps.

    A reward has no signal if it gives equal scores to all completions of a prompt. There is no warning about a reward
    that always gave its best possible score, such as no penalty.

    Args:
        rewards: Rewards of the run.
    """

    def __init__(self, rewards: Sequence[Reward]) -> None:
        self._rewards = list(rewards)
        self._warned: set[str] = set()
        self._begin()

    def _begin(self) -> None:
        self._steps = 0
        self._sums = torch.zeros(len(self._rewards), 4, dtype=torch.float64)

    def __call__(
        self,
        rewards_per_func: Float[Tensor, "rewards completions"],
        shares: Float[Tensor, " rewards"],
        over_ranks: Callable[[Tensor], Tensor],
    ) -> list[str]:
        """Add the scores of a step.

        Args:
            rewards_per_func: Scores of each reward, NaN where not scored.
            shares: Share of groups with signal, from ``signal_shares``.
            over_ranks: Function that sums a tensor over all ranks; called once per ``SILENT_STEPS`` steps.

        Returns:
            Names of the rewards that were warned about in this call.
        """
        scores = rewards_per_func.double().cpu()
        scored = ~scores.isnan()
        best = torch.tensor([float("nan") if r.best is None else r.best for r in self._rewards]).unsqueeze(1)
        below = scored & ~((scores - best).abs() <= EQUAL_REWARDS)
        columns = (shares.nan_to_num(0.0).double().cpu(), scored.sum(1), below.sum(1), scores.nansum(1))
        self._sums += torch.stack([column.double() for column in columns], 1)
        self._steps += 1
        if self._steps < SILENT_STEPS:
            return []
        rows = over_ranks(self._sums).tolist()
        self._begin()
        warned = []
        for reward, (groups_with_signal, count, below_best, total) in zip(self._rewards, rows, strict=True):
            if groups_with_signal or reward.name in self._warned or (count and not below_best):
                continue
            self._warned.add(reward.name)
            warned.append(reward.name)
            what = f"its mean score was {total / count:.4g}" if count else "it scored none of them"
            log.warning(
                "reward %r told no completions of a prompt apart in the last %d steps (%s), so it taught nothing; look "
                "at completions.jsonl (SampleTable), and at its options: %s",
                reward.name, SILENT_STEPS, what, reward.signature,
            )  # fmt: skip
        return warned
