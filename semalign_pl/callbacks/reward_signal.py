"""Check that the start of a GRPO run earns enough of a reward to learn from."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from semalign_pl.finite import Diverged
from semalign_pl.modules.stage import StageModule
from semalign_pl.protocols import has_rollouts
from semalign_pl.run.trainer import count_steps


class RewardSignal(Callback):
    """End a run whose first batches earn too little of a reward.

    GRPO learns from differences within a group. If the start is too weak for a reward, almost all completions earn
    nothing, and the other rewards alone decide what is learnt: the script without the meaning, for instance. The
    completions of the first batches together are counted, those without a score left out, because one batch has few
    prompts.

    Args:
        reward: Name of the reward, as in ``train/reward/NAME``.
        min_mean: Minimum mean of the reward.
        max_zeros: Maximum share of completions that earn 0 or less.
        batches: Number of batches per process; a shorter run has all of its batches counted.
    """

    def __init__(
        self, reward: str = "semantic", min_mean: float = 0.2, max_zeros: float = 0.2, batches: int = 8
    ) -> None:
        super().__init__()
        if batches < 1:
            raise ValueError(f"RewardSignal.batches: {batches} is not a positive number")
        if not 0 <= max_zeros <= 1:
            raise ValueError(f"RewardSignal.max_zeros: {max_zeros} is not a share; give a number from 0 to 1")
        self.reward, self.min_mean, self.max_zeros, self.batches = reward, min_mean, max_zeros, batches
        self._checked = False
        self._rewards: list[Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        """State: whether the start was checked, and the rewards of the batches before that."""
        return {"checked": self._checked, "rewards": self._rewards}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        self._checked = state_dict["checked"]
        self._rewards = state_dict.get("rewards", [])  # earlier checkpoints have none

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Count a batch with completions, and check the first ones once they are complete.

        Raises:
            ValueError: If the run has no such reward.
            Diverged: If its completions earn too little of it; the run then leaves no adapter.
        """
        if self._checked or not has_rollouts(outputs):
            return
        rewards = outputs["rewards_per_func"]
        if self.reward not in rewards:
            raise ValueError(
                f"RewardSignal.reward: the run has no reward {self.reward!r}; name one of {', '.join(rewards)}"
            )
        self._rewards.append(rewards[self.reward].detach().cpu())
        updates = pl_module.updates_per_batch() if isinstance(pl_module, StageModule) else 1
        steps = count_steps(trainer, pl_module)
        if len(self._rewards) < (self.batches if steps is None else min(self.batches, steps / updates)):
            return
        fault = weak_signal(torch.cat(self._rewards), self.min_mean, self.max_zeros)
        if trainer.strategy.reduce_boolean_decision(fault is not None, all=False):
            raise Diverged(
                f"RewardSignal: {self.reward} is too weak to learn from: {fault or 'on another process'}; train the "
                "cold start on more rows or for longer, or give RewardSignal other limits"
            )
        self._checked = True
        self._rewards = []


def weak_signal(rewards: Tensor, min_mean: float, max_zeros: float) -> str | None:
    """Describe why rewards are too weak to learn from.

    Args:
        rewards: Rewards ``(completions,)``; NaN where not scored.
        min_mean: Minimum mean.
        max_zeros: Maximum share of rewards of 0 or less.

    Returns:
        Figures and limits in words; ``None`` if the rewards are strong enough, or none was scored.

    >>> import torch
    >>> weak_signal(torch.tensor([0.0, 0.5, 0.5, float("nan")]), 0.2, 0.2)
    'its mean over 3 completions is 0.33 (at least 0.2), and 33 % are zero (at most 20 %)'
    >>> weak_signal(torch.tensor([0.1, 0.5, 0.6]), 0.2, 0.2)
    """
    scored = rewards[~rewards.isnan()]
    if not len(scored):
        return None
    mean, zeros = float(scored.mean()), float((scored <= 0).float().mean())
    if mean >= min_mean and zeros <= max_zeros:
        return None
    return (
        f"its mean over {len(scored)} completions is {mean:.2f} (at least {min_mean:g}), and {100 * zeros:.0f} % are "
        f"zero (at most {100 * max_zeros:g} %)"
    )
