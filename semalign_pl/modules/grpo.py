"""Group relative policy optimisation (DeepSeekMath, arXiv 2402.03300) with rewards from callbacks."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from semalign_pl.functional.advantages import group_advantages, signal, total_reward
from semalign_pl.functional.losses import clipped_ratio, kl_k3, mean_over_tokens_sum
from semalign_pl.modules.base import AlignModule
from semalign_pl.policy.sample import sample
from semalign_pl.policy.score import Rows, score, score_all
from semalign_pl.rewards.base import Reward
from semalign_pl.types import Example, Rollouts


class GRPOModule(AlignModule):
    """Sample a group of completions a prompt, reward them, and move towards the better ones of each group.

    The reference of the KL term is the policy as it was when the stage began: the adapter it started from, or the
    base. Samples come from the nucleus (``top_p``), log-probabilities from the full vocabulary at the sampling
    temperature; since policy, old policy and reference are all scored here, their ratios are consistent.

    Args:
        base: Causal LM: hub id or folder.
        optimizer: Optimiser of the adapter weights; the method's is AdamW at 5e-7.
        num_generations: Completions a prompt, K.
        temperature: Of sampling and scoring.
        top_p: Nucleus of sampling.
        beta: Weight of the KL to the reference; 0 saves its forward.
        epsilon: Half-width of the ratio's trust region.
        num_iterations: Optimiser steps on each batch of rollouts.
        rollout_rows: Rollouts decoded at once; lower it to save memory, results stay the same.
        **kwargs: See AlignModule.
    """

    stage = "grpo"

    def __init__(
        self,
        base: str,
        optimizer: OptimizerCallable = lambda p: torch.optim.AdamW(p, lr=5e-7),
        num_generations: int = 8,
        temperature: float = 0.8,
        top_p: float = 0.9,
        beta: float = 0.04,
        epsilon: float = 0.2,
        num_iterations: int = 1,
        rollout_rows: int = 128,
        **kwargs: Any,
    ) -> None:
        super().__init__(base, optimizer=optimizer, **kwargs)
        if temperature <= 0:
            raise ValueError(f"model.init_args.temperature: {temperature} gives K equal samples; use e.g. 0.8")
        if num_generations < 2:
            raise ValueError(f"model.init_args.num_generations: a group of {num_generations} has no signal; use e.g. 8")
        self.num_generations, self.temperature, self.top_p = num_generations, temperature, top_p
        self.beta, self.epsilon, self.num_iterations = beta, epsilon, num_iterations
        self.rollout_rows = rollout_rows

    def on_fit_start(self) -> None:
        """Refuse a run without rewards, or with two of one name."""
        if not self.rewards:
            raise ValueError(
                "trainer.callbacks: GRPO needs a reward; list e.g. "
                "{class_path: SemanticReward, init_args: {encoder: …}}"
            )
        names = [reward.name for reward in self.rewards]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(
                f"trainer.callbacks: two rewards are named {twice!r}, so one would hide the other in logs and samples; "
                "leave one out, or give it a class of its own"
            )

    @property
    def rewards(self) -> list[Reward]:
        """The rewards among the trainer's callbacks."""
        callbacks: list[Any] = getattr(self.trainer, "callbacks", [])
        return [c for c in callbacks if isinstance(c, Reward)]

    def updates_per_batch(self) -> int:
        """Optimiser steps a batch."""
        return self.num_iterations

    def training_step(self, batch: list[Example], batch_idx: int) -> dict[str, Any]:
        """Rollouts, rewards, and ``num_iterations`` optimiser steps."""
        with self.step_randomness() as seed:
            rollouts = sample(
                self.policy,
                self.encode(batch),
                num_generations=self.num_generations,
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
                top_p=self.top_p,
                seed=seed,
                rows=self.rollout_rows,
            )
            parts = self.score_rollouts(batch, rollouts)
            rewards = total_reward(parts, [reward.weight for reward in self.rewards])
            metrics = self.policy_update(rollouts, group_advantages(rewards, self.num_generations))
        self._log_rollouts(rollouts, parts, rewards, metrics)
        return {"examples": batch, "rollouts": rollouts, "rewards": rewards, "parts": self._named(parts)}

    def score_rollouts(self, batch: list[Example], rollouts: Rollouts) -> Tensor:
        """Every reward's score of every rollout.

        Args:
            batch: The examples.
            rollouts: Their completions.

        Returns:
            ``(rewards, rollouts)`` float32, NaN where a reward gave none.
        """
        repeated = [example for example in batch for _ in range(self.num_generations)]
        return torch.stack([reward(repeated, rollouts.texts).to(self.device) for reward in self.rewards])

    def policy_update(self, rollouts: Rollouts, advantages: Tensor) -> dict[str, Tensor]:
        """``num_iterations`` optimiser steps of the clipped objective with KL (DeepSeekMath, equation 3).

        Args:
            rollouts: Completions.
            advantages: ``(rollouts,)`` float32.

        Returns:
            Scalars to log: loss, kl, entropy, clip_share, grad_norm.
        """
        prompts = [p for p in rollouts.prompt_ids for _ in range(rollouts.num_generations)]
        rows = Rows(prompts, rollouts.completion_ids, rollouts.completion_mask)
        count = self.sum_over_ranks(len(prompts))
        tokens = rows.mask.sum().clamp(min=1)
        reference = old = None
        if self.beta > 0:
            with self.policy.acting_as("reference"):
                reference = score_all(self.policy, rows, self.temperature, self.micro_batch_size)
        if self.num_iterations > 1:
            old = score_all(self.policy, rows, self.temperature, self.micro_batch_size)
        zero = torch.zeros((), device=self.device)
        totals: dict[str, Tensor] = {"loss": zero, "kl": zero, "entropy": zero, "clip_share": zero}
        norm = torch.zeros((), device=self.device)
        for _ in range(self.num_iterations):
            for index, micro in rows.micro_batches(self.micro_batch_size):
                logps, entropy = score(self.policy, micro, self.temperature, with_entropy=True)
                length = logps.shape[1]
                # The first update is on-policy: the old log-probs are the current ones, the ratio is exactly 1.
                old_logps = logps.detach() if old is None else old[index, :length]
                per_token, clipped = clipped_ratio(logps, old_logps, advantages[index], self.epsilon, micro.mask)
                kl = torch.zeros_like(logps)
                if reference is not None:
                    kl = kl_k3(logps.masked_fill(~micro.mask, 0.0), reference[index, :length])
                loss = mean_over_tokens_sum(per_token + self.beta * kl, micro.mask) / count
                self.accumulate(loss)
                with torch.no_grad():
                    totals["loss"] = totals["loss"] + loss * self.trainer.world_size / self.num_iterations
                    for name, value in (("kl", kl), ("entropy", entropy), ("clip_share", clipped)):
                        totals[name] = totals[name] + (value * micro.mask).sum() / tokens / self.num_iterations
            norm = self.update()
        return {**totals, "grad_norm": norm}

    def _named(self, parts: Tensor) -> dict[str, Tensor]:
        return {reward.name: part for reward, part in zip(self.rewards, parts, strict=True)}

    def _log_rollouts(self, rollouts: Rollouts, parts: Tensor, rewards: Tensor, metrics: dict[str, Tensor]) -> None:
        groups = signal(rewards, self.num_generations)
        distinct = len(set(zip(_group_ids(len(rewards), self.num_generations), rollouts.texts, strict=True)))
        self.log_train(
            {
                "reward": rewards.nanmean(),
                **{f"reward/{name}": part.nanmean() for name, part in self._named(parts).items()},
                "reward_std": rewards.view(-1, self.num_generations).std(1).nanmean(),
                "completion_tokens": rollouts.completion_mask.sum(1).float().mean(),
                "ended_by_eos": rollouts.finished.float().mean(),
                "groups_without_signal": 1 - groups.float().mean(),
                "distinct_completions": distinct / len(rewards),
                **metrics,
            },
            len(rewards),
        )


def _group_ids(rollouts: int, num_generations: int) -> list[int]:
    return [i // num_generations for i in range(rollouts)]
