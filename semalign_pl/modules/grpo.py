"""Group relative policy optimisation (DeepSeekMath, arXiv 2402.03300) with rewards from callbacks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from semalign_pl.functional.advantages import Scale, group_advantages, signal
from semalign_pl.functional.composition import Aggregation, normalise_within_groups, total_reward
from semalign_pl.functional.losses import Level, LossType, nll_sum
from semalign_pl.functional.objective import Objective
from semalign_pl.modules.base import AlignModule
from semalign_pl.modules.profile import Profile
from semalign_pl.policy.batching import Completions
from semalign_pl.policy.sample import sample
from semalign_pl.policy.score import compute_logprobs
from semalign_pl.rewards.base import Reward
from semalign_pl.rewards.together import Silence, check_rewards, score_together, signal_shares
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
        top_k: Sample from the likeliest k tokens only; 0 for all.
        min_p: Sample only tokens with at least this fraction of the likeliest one's probability.
        beta: Weight of the KL to the reference; 0 saves its forward, and groups of equal rewards cost nothing.
        loss_type: grpo, bnpo, dr_grpo, dapo or cispo; see functional/objective.py.
        importance_sampling_level: Ratios a token, or a sequence (GSPO).
        epsilon: Width of the ratio's trust region below 1.
        epsilon_high: Width above 1, as epsilon if left out; for cispo the largest weight itself.
        multi_objective_aggregation: Rewards are summed by weight, then normalised as scale_rewards says; or each is
            normalised in its group, then summed, then normalised in the batch (GDPO, arXiv 2601.05242).
        scale_rewards: Advantages are divided by the standard deviation of their group, of the batch, or of none.
        num_iterations: Optimiser steps on each batch of rollouts.
        mask_truncated_completions: Leave out of the loss what did not end in an EOS.
        reference_nll_weight: Adds so much of SFT's loss on the reference; slides from semantic RL towards SFT.
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
        top_k: int = 0,
        min_p: float = 0.0,
        beta: float = 0.04,
        loss_type: LossType = "grpo",
        importance_sampling_level: Level = "token",
        epsilon: float = 0.2,
        epsilon_high: float | None = None,
        multi_objective_aggregation: Aggregation = "sum_then_normalize",
        scale_rewards: Scale = "group",
        num_iterations: int = 1,
        mask_truncated_completions: bool = False,
        reference_nll_weight: float = 0.0,
        rollout_rows: int = 128,
        **kwargs: Any,
    ) -> None:
        super().__init__(base, optimizer=optimizer, **kwargs)
        if temperature <= 0:
            raise ValueError(f"model.init_args.temperature: {temperature} gives K equal samples; use e.g. 0.8")
        if num_generations < 2:
            raise ValueError(f"model.init_args.num_generations: a group of {num_generations} has no signal; use e.g. 8")
        if loss_type == "cispo" and epsilon_high is None:
            raise ValueError(
                "model.init_args.epsilon_high: cispo needs the largest weight a token may have; use e.g. 5.0"
            )
        self.num_generations, self.temperature = num_generations, temperature
        self.sampling = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p}
        high = epsilon if epsilon_high is None else epsilon_high
        self.objective = Objective(loss_type, importance_sampling_level, epsilon, high, beta)
        self.aggregation: Aggregation = multi_objective_aggregation
        self.scale_rewards: Scale = "batch" if self.aggregation == "normalize_then_sum" else scale_rewards
        self.num_iterations, self.rollout_rows = num_iterations, rollout_rows
        self.mask_truncated_completions, self.reference_nll_weight = mask_truncated_completions, reference_nll_weight

    def on_fit_start(self) -> None:
        """Refuse rewards that do not make one."""
        check_rewards(self.rewards, self.aggregation)
        self._silence = Silence(self.rewards)

    @property
    def rewards(self) -> list[Reward]:
        """The rewards among the trainer's callbacks."""
        callbacks: list[Any] = getattr(self.trainer, "callbacks", [])
        return [c for c in callbacks if isinstance(c, Reward)]

    @property
    def beta(self) -> float:
        """Weight of the KL to the reference; a callback may set it between steps."""
        return self.objective.beta

    @beta.setter
    def beta(self, value: float) -> None:
        self.objective = replace(self.objective, beta=value)

    def updates_per_batch(self) -> int:
        """Optimiser steps a batch."""
        return self.num_iterations

    def training_step(self, batch: list[Example], batch_idx: int) -> dict[str, Any]:
        """Rollouts, rewards, and ``num_iterations`` optimiser steps."""
        profile = Profile(self.device)
        with self.step_randomness() as seed:
            with profile.phase("rollout"):
                rollouts = self.rollouts(batch, self.num_generations, seed)
            with profile.phase("reward"):
                parts = self.score_rollouts(batch, rollouts)
            rewards = self.total(parts)
            compared = rewards
            if self.aggregation == "normalize_then_sum":
                compared = self.total(normalise_within_groups(parts, self.num_generations))
            references = self._references(batch) if self.reference_nll_weight > 0 else []
            metrics = self.policy_update(rollouts, self.advantages(compared), references, profile)
            profile.tokens |= dict.fromkeys(("rollout", "reward"), int(rollouts.completion_mask.sum()))
        self._log_rollouts(rollouts, parts, rewards, {**metrics, **profile.metrics()})
        extra = {name: values for reward in self.rewards for name, values in reward.extra_columns.items()}
        named = self._named(parts)
        return {"examples": batch, "rollouts": rollouts, "rewards": rewards, "parts": named, "extra": extra}

    def rollouts(self, batch: list[Example], num_generations: int, seed: int) -> Rollouts:
        """Completions as training samples them.

        Args:
            batch: The examples.
            num_generations: Completions of each.
            seed: Source of all randomness; no other is touched.
        """
        return sample(
            self.policy,
            self.encode(batch),
            num_generations=num_generations,
            max_new_tokens=self.max_new_tokens,
            seed=seed,
            rows=self.rollout_rows,
            **self.sampling,
        )

    def score_rollouts(self, batch: list[Example], rollouts: Rollouts) -> Tensor:
        """Every reward's score of every rollout.

        Args:
            batch: The examples.
            rollouts: Their completions.

        Returns:
            ``(rewards, rollouts)`` float32, NaN where a reward gave none.
        """
        repeated = [example for example in batch for _ in range(self.num_generations)]
        lengths, ids = rollouts.completion_mask.sum(1).tolist(), rollouts.completion_ids.tolist()
        written = [row[:length] for row, length in zip(ids, lengths, strict=True)]
        return score_together(self.rewards, repeated, rollouts.texts, written).to(self.device)

    def total(self, parts: Tensor) -> Tensor:
        """All rewards as one, by their weights and gates.

        Args:
            parts: ``(rewards, rollouts)`` float32, NaN where a reward gave no score.

        Returns:
            ``(rollouts,)`` float32, NaN where none did.
        """
        return total_reward(parts, [reward.weight for reward in self.rewards], [reward.gate for reward in self.rewards])

    def advantages(self, rewards: Tensor) -> Tensor:
        """Advantages of this rank's rollouts.

        Args:
            rewards: ``(rollouts,)`` float32, NaN where not scored.

        Returns:
            ``(rollouts,)`` float32.
        """
        spread = 1.0
        if self.scale_rewards == "batch":
            scored = rewards[~rewards.isnan()].double()
            count, total = self.sum_over_ranks(len(scored)), self.sum_over_ranks(float(scored.sum()))
            squares = self.sum_over_ranks(float((scored - total / max(1.0, count)).square().sum()))
            spread = math.sqrt(squares / max(1.0, count - 1))
        return group_advantages(rewards, self.num_generations, self.scale_rewards, spread)

    def policy_update(
        self,
        rollouts: Rollouts,
        advantages: Tensor,
        references: Sequence[list[int]] = (),
        profile: Profile | None = None,
    ) -> dict[str, Tensor]:
        """``num_iterations`` optimiser steps of the objective (DeepSeekMath, equation 3, by default).

        The run's last batch makes fewer where ``max_steps`` comes first.

        Args:
            rollouts: Completions.
            advantages: ``(rollouts,)`` float32.
            references: For each prompt the wanted completion's token ids, none to leave it out of SFT's loss.
            profile: Told the time and tokens of the phases ``reference`` and ``update``.

        Returns:
            Scalars to log: loss, kl, entropy, clip_share, grad_norm.
        """
        profile = Profile(self.device) if profile is None else profile
        count = len(advantages)
        rows = self._rows(rollouts, advantages, references)
        policy_rows = Completions(rows.prompts[:count], rows.completions[:count], [self.temperature] * count)
        divisor, nll_divisor = self._divisors(rollouts, references)
        reference = old = None
        if self.objective.beta > 0:
            with profile.phase("reference"), self.policy.acting_as("reference"):
                reference = compute_logprobs(self.policy, policy_rows, self.micro_batch_tokens)
        with profile.phase("update"):
            if self.num_iterations > 1:
                old = compute_logprobs(self.policy, policy_rows, self.micro_batch_tokens)
            iterations = self._iterations()
            share = 1 / max(1, policy_rows.tokens * iterations)
            totals = {name: torch.zeros((), device=self.device) for name in ("loss", "kl", "entropy", "clip_share")}
            norm = torch.zeros((), device=self.device)
            for _ in range(iterations):
                for part in self.scored(rows):
                    nll = nll_sum(part.logps[part.rows >= count], part.mask[part.rows >= count])
                    part = part.select(part.rows < count)
                    index, width = part.rows, part.logps.shape[1]
                    # The first update is on-policy: the old log-probs are the current ones, the ratio is exactly 1.
                    before = part.logps.detach() if old is None else old[index, :width]
                    behind = None if reference is None else reference[index, :width]
                    loss, kl, clipped = self.objective(part.logps, before, behind, advantages[index], part.mask)
                    loss = loss / divisor + self.reference_nll_weight * nll / nll_divisor
                    self.accumulate(loss)
                    totals["loss"] += loss.detach() * self.trainer.world_size / iterations
                    for name, value in (("kl", kl), ("entropy", part.entropy), ("clip_share", clipped)):
                        totals[name] += (value.detach() * part.mask).sum() * share
                norm = self.update()
        profile.tokens |= {"reference": policy_rows.tokens, "update": rows.tokens * iterations}
        return {**totals, "grad_norm": norm}

    def _iterations(self) -> int:
        """Number of optimiser steps of this batch: fewer than ``num_iterations`` where ``max_steps`` ends the run."""
        left = self.trainer.max_steps - self.global_step
        return min(self.num_iterations, left) if self.trainer.max_steps > 0 and left > 0 else self.num_iterations

    def _rows(self, rollouts: Rollouts, advantages: Tensor, references: Sequence[list[int]]) -> Completions:
        """The step's rows, references behind the rollouts; what cannot teach anything costs nothing."""
        counts = self._counts(rollouts)
        if self.objective.beta == 0:
            counts = counts & (advantages != 0).unsqueeze(1)
        ids, lengths = rollouts.completion_ids.tolist(), counts.sum(1).tolist()
        repeated = [prompt for prompt in rollouts.prompt_ids for _ in range(rollouts.num_generations)]
        completions = [row[:length] for row, length in zip(ids, lengths, strict=True)]
        temperatures = [self.temperature] * len(completions) + [1.0] * len(references)
        return Completions(
            [*repeated, *rollouts.prompt_ids[: len(references)]], [*completions, *references], temperatures
        )

    def _counts(self, rollouts: Rollouts) -> Tensor:
        """``(rollouts, tokens)`` bool: the tokens in the loss."""
        mask = rollouts.completion_mask
        return mask & rollouts.finished.unsqueeze(1) if self.mask_truncated_completions else mask

    def _divisors(self, rollouts: Rollouts, references: Sequence[list[int]]) -> tuple[float, float]:
        """Denominators of the whole step over all ranks, of the objective and of SFT's loss."""
        counts = self._counts(rollouts)
        here = float(counts.sum())
        rows, tokens = self.sum_over_ranks(float(counts.any(1).sum())), self.sum_over_ranks(here)
        nll = self.sum_over_ranks(sum(map(len, references))) if self.reference_nll_weight > 0 else 1.0
        return self.objective.denominator(rows, tokens, here, self.trainer.world_size, self.max_new_tokens), max(
            1.0, nll
        )

    def _references(self, batch: list[Example]) -> list[list[int]]:
        """Wanted completions; one that is too long is left out, never cut."""
        encoded = self.encode_references(batch)
        return [ids if len(ids) <= self.max_new_tokens else [] for ids in encoded]

    def _sum_tensor(self, values: Tensor) -> Tensor:
        return self.trainer.strategy.reduce(values.to(self.device), reduce_op="sum").cpu()

    def _named(self, parts: Tensor) -> dict[str, Tensor]:
        return {reward.name: part for reward, part in zip(self.rewards, parts, strict=True)}

    def _log_rollouts(
        self, rollouts: Rollouts, parts: Tensor, rewards: Tensor, metrics: Mapping[str, Tensor | float]
    ) -> None:
        groups, shares = signal(rewards, self.num_generations), signal_shares(parts, self.num_generations)
        self._silence(parts, shares, self._sum_tensor)
        distinct = len(set(zip(_group_ids(len(rewards), self.num_generations), rollouts.texts, strict=True)))
        self.log_train(
            {
                "reward": rewards.nanmean(),
                **{f"reward/{name}": part.nanmean() for name, part in self._named(parts).items()},
                **{f"signal/{name}": share for name, share in self._named(shares).items()},
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
