"""Group relative policy optimisation (DeepSeekMath, arXiv 2402.03300) with rewards from callbacks."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from semalign_pl.functional.advantages import Scale, group_advantages
from semalign_pl.functional.composition import Aggregation, normalise_within_groups, total_reward
from semalign_pl.functional.losses import Level
from semalign_pl.functional.objective import Objective
from semalign_pl.functional.ranking import append_to_groups, shuffle_within_groups
from semalign_pl.functional.token_weights import TokenWeight
from semalign_pl.modules.loss_terms import LossTerm
from semalign_pl.modules.policy_updates import PolicyUpdates, Schedule, Update
from semalign_pl.modules.reference_term import check_token_weight
from semalign_pl.modules.rollout_metrics import rollout_metrics
from semalign_pl.modules.rollout_reuse import RolloutReuse
from semalign_pl.modules.sampling import ROLLOUT_ROWS, Sampling, check_sampling, check_server
from semalign_pl.modules.stage import check_counts
from semalign_pl.modules.step_timer import StepTimer
from semalign_pl.modules.update_checks import check_reference_nll, check_update, check_weight
from semalign_pl.policy.rollout_weights import RolloutWeights, check_rollout_weights
from semalign_pl.rewards.base import Reward
from semalign_pl.rewards.run_rewards import NoSignalWarnings, check_rewards, score_completions, signal_shares
from semalign_pl.rollouts import ServerRollouts
from semalign_pl.run.trainer import callbacks_of
from semalign_pl.types import Example, Rollouts, StepOutputs

log = logging.getLogger(__name__)


class GRPOModule(PolicyUpdates):
    """Sample a group of completions per prompt, reward them, and make the better ones of each group likelier.

    The reference of the KL is the policy at the start of the stage: the adapter that it started from, or the base.
    Completions are sampled from the nucleus (``top_p``). Log-probs are over the full vocabulary, at the sampling
    temperature. Policy, old policy and reference are all forwarded by this module, so their ratios are consistent.

    Args:
        base: Hub id or folder of a causal LM.
        optimizer: Optimiser of the adapter weights; by default AdamW with the method's learning rate, 5e-7.
        num_generations: Number of completions per prompt, K.
        temperature: Temperature of sampling; log-probs use it too.
        top_p: Probability mass of the nucleus that tokens are sampled from; 1 for all tokens.
        top_k: Number of likeliest tokens to sample from; 0 for all.
        min_p: Minimum probability of a sampled token, as a fraction of the likeliest token's.
        beta: Weight of the KL to the reference. 0 saves the reference's forward, and groups of equal rewards then cost
            nothing.
        loss_type: Loss, named as in TRL: grpo, bnpo, dr_grpo, dapo or cispo (functional/objective.py defines each). Two
            losses use the ranking by reward only: best_of_group, the NLL of the best completion of each group (RAFT),
            and cpo, preferences among the completions and the reference (modules/policy_updates.py defines both).
        importance_sampling_level: Level of the importance ratio: one per token, or one per sequence (GSPO).
        epsilon: Width of the trust region of the ratio below 1.
        epsilon_high: Width of the trust region above 1, by default epsilon; for cispo the largest weight itself.
        multi_objective_aggregation: Order of combining rewards. sum_then_normalize: weighted sum, then normalised as
            scale_rewards says. normalize_then_sum: each reward is normalised in its group, then the weighted sum is
            normalised in the batch (GDPO, arXiv 2601.05242).
        scale_rewards: Standard deviation that divides the advantages: of the group, of the batch, or none. With
            normalize_then_sum it is always that of the batch.
        shuffle_rewards: Flag to permute the total rewards within each group: a control that shows what updates cost if
            rewards have no information. Logged rewards are those before the permutation.
        num_iterations: Number of optimiser steps per batch of rollouts.
        mask_truncated_completions: Flag to leave completions that did not end in an EOS out of the loss.
        reference_nll_weight: Weight of SFT's loss on the reference completion, which is added to the loss: 0 for RL
            alone, higher values to approach SFT.
        reference_nll_schedule: Schedule of that weight: constant, or linear to 0 at the end of the run. CHORD's mu
            (arXiv 2508.11408) decays too; CHORD also multiplies the policy objective by 1 - mu, which is not done here.
        reference_token_weight: Weight of each token in SFT's loss, as SFTModule's token_weight; chord is CHORD's phi.
        preference_beta: Factor on the difference of log-probs in cpo's loss; TRL's beta of CPO.
        replay_nll_weight: Weight of SFT's loss on the rows of replayed corpora (`replay: true` in the data), which are
            neither sampled nor rewarded. It counts only if there are any.
        rollout_rows: Number of rollouts that are decoded at once; lower it to save memory, results stay the same.
        rollout_weights: Weights that rollouts are sampled with: ``stored``, or ``dense`` copies, made once per step.
            NF4 is then dequantised once and not for every token; in float32 the adapter is added too. The logits are
            the same up to rounding. It takes the memory of dense weights, on a GPU as far as it has room.
        reuse_rollouts: Flag to take a row's completions of the epoch before as drafts (SPEC-RL, arXiv 2509.23232).
            Tokens that the present policy samples again are not decoded one by one. The samples of a row then have the
            same random numbers in every epoch. On a CPU this has not saved time (docs/results.md); not measured on a
            GPU, where a decoded token costs more than a forwarded one.
        rollouts: Servers that sample in place of this process (docs/scaling.md); null for none. They need top_p: 1.0,
            except for best_of_group and cpo.
        **kwargs: Arguments of AlignModule.
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
        loss_type: Update = "grpo",
        importance_sampling_level: Level = "token",
        epsilon: float = 0.2,
        epsilon_high: float | None = None,
        multi_objective_aggregation: Aggregation = "sum_then_normalize",
        scale_rewards: Scale = "group",
        shuffle_rewards: bool = False,
        num_iterations: int = 1,
        mask_truncated_completions: bool = False,
        reference_nll_weight: float = 0.0,
        reference_nll_schedule: Schedule = "constant",
        reference_token_weight: TokenWeight = "none",
        preference_beta: float = 0.1,
        replay_nll_weight: float = 1.0,
        rollout_rows: int = ROLLOUT_ROWS,
        rollout_weights: RolloutWeights = "stored",
        reuse_rollouts: bool = False,
        rollouts: ServerRollouts | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(base, optimizer=optimizer, **kwargs)
        if temperature <= 0:
            raise ValueError(f"model.init_args.temperature: {temperature} gives K equal samples; use e.g. 0.8")
        if num_generations < 2:
            raise ValueError(f"model.init_args.num_generations: a group of {num_generations} has no signal; use e.g. 8")
        check_counts(rollout_rows=rollout_rows)
        check_weight("beta", beta, 0.04)
        check_weight("reference_nll_weight", reference_nll_weight, 0.1)
        check_update(
            loss_type, importance_sampling_level, epsilon, epsilon_high, multi_objective_aggregation, scale_rewards,
            num_iterations, preference_beta,
        )  # fmt: skip
        check_reference_nll(reference_nll_weight, reference_nll_schedule, reference_token_weight)
        check_token_weight(reference_token_weight, "reference_token_weight")
        if replay_nll_weight <= 0:
            raise ValueError(
                f"model.init_args.replay_nll_weight: {replay_nll_weight} would leave replayed rows without a loss; "
                "give a weight above 0, or take the corpora with replay: true out of data.init_args.train"
            )
        self.num_generations, self.temperature = num_generations, temperature
        self.replay_nll_weight = replay_nll_weight
        self.sampling = Sampling(temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p)
        check_sampling(self.sampling)
        high = epsilon if epsilon_high is None else epsilon_high
        # The losses that use the ranking only have GRPO's KL, if it has a weight.
        surrogate = "grpo" if loss_type in ("best_of_group", "cpo") else loss_type
        self.loss_type: Update = loss_type
        self.objective = Objective(surrogate, importance_sampling_level, epsilon, high, beta)
        self.aggregation: Aggregation = multi_objective_aggregation
        self.scale_rewards: Scale = "batch" if self.aggregation == "normalize_then_sum" else scale_rewards
        self.shuffle_rewards, self.preference_beta = shuffle_rewards, preference_beta
        self.num_iterations, self.rollout_rows = num_iterations, rollout_rows
        check_rollout_weights(rollout_weights, self.weights)
        self.rollout_weights: RolloutWeights = rollout_weights
        self.mask_truncated_completions, self.reference_nll_weight = mask_truncated_completions, reference_nll_weight
        self.reference_nll_schedule: Schedule = reference_nll_schedule
        self.reference_token_weight: TokenWeight = reference_token_weight
        self.server, self.reuse_rollouts = rollouts, reuse_rollouts
        self.reuse: RolloutReuse | None = None
        # The losses that use the ranking only take their completions as they are.
        self.corrects_sampler = loss_type not in ("best_of_group", "cpo")
        if rollouts is not None:
            check_server(self.sampling, rollout_rows, self.corrects_sampler, rollout_weights, reuse_rollouts)
            self.max_importance_ratio = rollouts.max_importance_ratio
        self._warned_of_length = False
        self._has_reference = {True}  # stays so if a run resumes within an epoch, whose earlier rows it does not know

    def on_fit_start(self) -> None:
        """Refuse a run whose rewards cannot be used together, or drafts for an architecture that cannot use them.

        Raises:
            ValueError: Names the fault and the remedy.
        """
        check_rewards(self.rewards, self.aggregation)
        reason = self.policy.prefix_sharing_unsupported_reason
        if self.reuse_rollouts and reason is not None:
            raise ValueError(f"model.init_args.reuse_rollouts: drafts need a shared prompt, but {reason}; leave it out")
        self.reuse = RolloutReuse(self.seed) if self.reuse_rollouts else None
        self._no_signal_warnings = NoSignalWarnings(self.rewards)
        if self.reference_nll_schedule == "linear":
            self.run_steps = self._total_steps()

    def on_train_epoch_start(self) -> None:
        """Forget which kinds of rows, with and without a reference, the epoch before had."""
        self._has_reference = set[bool]()

    def on_train_epoch_end(self) -> None:
        """Stop a run whose loss has references in its settings and none in its data.

        Raises:
            ValueError: If no row of the epoch had a reference.
        """
        if self.reference_nll_weight <= 0:
            return
        with_one, without = (self.sum_over_ranks(kind in self._has_reference) for kind in (True, False))
        if without and not with_one:
            raise ValueError(
                "model.init_args.reference_nll_weight: no row has a reference, so the loss had none; give references "
                "(source_only: false in the task), or the weight 0"
            )

    @property
    def rewards(self) -> list[Reward]:
        """Rewards among the trainer's callbacks."""
        return [c for c in callbacks_of(self.trainer) if isinstance(c, Reward)]

    @property
    def _uses_references(self) -> bool:
        """True if the loss has the references of the rows that are sampled."""
        return self.loss_type == "cpo" or self.reference_nll_weight > 0

    @property
    def beta(self) -> float:
        """Weight of the KL to the reference; a callback may set it between steps."""
        return self.objective.beta

    @beta.setter
    def beta(self, value: float) -> None:
        self.objective = replace(self.objective, beta=value)

    def updates_per_batch(self) -> int:
        """Number of optimiser steps per batch."""
        return self.num_iterations

    def training_step(self, batch: list[Example], batch_idx: int) -> StepOutputs:
        """Sample rollouts, score them, and make ``num_iterations`` optimiser steps.

        Args:
            batch: Examples of this rank.
            batch_idx: Index of the batch in the epoch.

        Returns:
            Rollouts and rewards of the rows that are not replayed, for the callbacks.
        """
        timer = StepTimer(self.device)
        # Replayed rows are general data, for which the rewards of the new language would be wrong: they are neither
        # sampled nor scored, and have SFT's loss alone.
        replayed = [example for example in batch if example.replay]
        batch = [example for example in batch if not example.replay]
        self.check_references(replayed)
        # All randomness of the step is a function of seed, step and rank, so that a resumed run samples the same.
        with self.step_randomness() as seed:
            # 1. Rollout: a group of completions per prompt, because the mean reward of the group is the baseline (there
            # is no value model). The current weights sample, so the first update is on-policy.
            with timer.phase("rollout"), self.drafts(self.reuse):
                rollouts = self.rollouts(batch, self.num_generations, seed)
            # 2. Reward: all rewards score all rollouts. NaN means "not scored": it is left out, never counted as 0,
            # because a missing score says nothing about the completion.
            with timer.phase("reward"):
                references = self._references(batch)
                reference_rewards = self._score_references(batch, references)
                rewards_per_func = self._score(batch, rollouts)
            rewards = self._total(rewards_per_func)
            # 3. Advantage: reward minus the mean of the group, so that easy prompts, where every completion gets a high
            # reward, do not count more. Losses that use the ranking only (best_of_group, cpo) compare the same rewards.
            by_group = append_to_groups(rewards_per_func, self.num_generations, reference_rewards)
            compared_rewards = self._compared_rewards(by_group, seed)
            # 4. Reference and 5. update: see PolicyUpdates.
            replayed_ids = self._short_references(replayed)
            more_terms = self._replay_terms(replayed, replayed_ids)
            metrics = self._update_policy(rollouts, compared_rewards, references, timer, more_terms)
            timer.tokens |= dict.fromkeys(("rollout", "reward"), int(rollouts.completion_mask.sum()))
        shares = signal_shares(rewards_per_func, self.num_generations)
        self._no_signal_warnings(rewards_per_func, shares, self.sum_tensor_over_ranks)
        by_name = {reward.name: scores for reward, scores in zip(self.rewards, rewards_per_func, strict=True)}
        means = rollout_metrics(rollouts, rewards, by_name)
        if self.reuse:
            means["reused_tokens"] = rollouts.reused_tokens, rollouts.completion_mask.sum()
        metrics = {**self.mean_over_ranks(means), **metrics, **timer.metrics()}
        # All ranks log the same names, also a rank without such rows.
        if self._uses_references or more_terms:
            trained = [*(batch if references else ()), *replayed]
            too_long = self._count_too_long(trained, [*references, *replayed_ids])
            metrics["references_too_long"] = self.sum_over_ranks(too_long)
        self.log_train(metrics, max(1, len(rewards)))
        extra = {name: values for reward in self.rewards for name, values in reward.extra_columns.items()}
        return StepOutputs(examples=batch, rollouts=rollouts, rewards=rewards, rewards_per_func=by_name, extra=extra)

    def _update_policy(
        self,
        rollouts: Rollouts,
        rewards: Float[Tensor, " candidates"],
        references: list[list[int]],
        timer: StepTimer,
        more_terms: Sequence[LossTerm],
    ) -> dict[str, Tensor]:
        """Make the update that ``loss_type`` names."""
        if self.loss_type == "cpo":
            return self.preference_update(rollouts, rewards, references, timer, more_terms)
        if self.loss_type == "best_of_group":
            return self.best_of_group_update(rollouts, rewards, references, timer, more_terms)
        return self.policy_update(rollouts, self._advantages(rewards), references, timer, more_terms)

    def _score(self, batch: list[Example], rollouts: Rollouts) -> Float[Tensor, "rewards completions"]:
        """Scores of every rollout by every reward, float32, NaN where a reward gave none."""
        repeated = [example for example in batch for _ in range(self.num_generations)]
        lengths, ids = rollouts.completion_mask.sum(1).tolist(), rollouts.completion_ids.tolist()
        token_ids = [row[:length] for row, length in zip(ids, lengths, strict=True)]
        return score_completions(self.rewards, repeated, rollouts.texts, token_ids).to(self.device)

    def _score_references(
        self, batch: list[Example], references: list[list[int]]
    ) -> Float[Tensor, "rewards prompts extra"]:
        """Scores of the references as completions, NaN for those that are left out; none unless CPO ranks them.

        They are scored before the rollouts, because a reward's extra columns are those of its last scoring.
        """
        if self.loss_type != "cpo":
            return torch.zeros(len(self.rewards), len(batch), 0, device=self.device)
        scores = score_completions(self.rewards, batch, [example.reference for example in batch], references)
        left_out = [not (ids and e.reference.strip()) for ids, e in zip(references, batch, strict=True)]
        scores = scores.masked_fill(torch.tensor(left_out, dtype=torch.bool), float("nan"))
        return scores.unsqueeze(2).to(self.device)

    def _total(self, rewards_per_func: Float[Tensor, "rewards completions"]) -> Float[Tensor, " completions"]:
        """Total reward from all rewards, by their weights and gates; NaN where no reward gave a score."""
        weights, gates = [reward.weight for reward in self.rewards], [reward.gate for reward in self.rewards]
        return total_reward(rewards_per_func, weights, gates)

    def _compared_rewards(
        self, rewards_per_func: Float[Tensor, "rewards prompts candidates"], seed: int
    ) -> Float[Tensor, " candidates"]:
        """Rewards that are compared within a group: the total, by GDPO of each reward normalised, or shuffled."""
        group_size, rewards_per_func = rewards_per_func.shape[2], rewards_per_func.flatten(1)
        # GDPO normalises each reward first, so that the scale of one cannot hide another; the logged reward stays the
        # plain sum.
        if self.aggregation == "normalize_then_sum":
            rewards_per_func = normalise_within_groups(rewards_per_func, group_size)
        rewards = self._total(rewards_per_func)
        # Another seed than that of the samples, whose random numbers would otherwise decide the order.
        return shuffle_within_groups(rewards, group_size, seed + 1) if self.shuffle_rewards else rewards

    def _advantages(self, rewards: Float[Tensor, " completions"]) -> Float[Tensor, " completions"]:
        """Group-relative advantages of this rank's rollouts."""
        std = 1.0
        # A batch spans all ranks, so that its standard deviation does not depend on the number of GPUs.
        if self.scale_rewards == "batch":
            scored = rewards[~rewards.isnan()].double()
            count, total = self.sum_over_ranks(len(scored)), self.sum_over_ranks(float(scored.sum()))
            squares = self.sum_over_ranks(float((scored - total / max(1.0, count)).square().sum()))
            std = math.sqrt(squares / max(1.0, count - 1))
        return group_advantages(rewards, self.num_generations, self.scale_rewards, std)

    def _references(self, batch: list[Example]) -> list[list[int]]:
        """Token ids of the references, if the loss has them; a row without one, and too long ones, are empty."""
        if not self._uses_references:
            return []
        self._has_reference |= {bool(example.reference.strip()) for example in batch}
        return self._short_references(batch)

    def _short_references(self, batch: list[Example]) -> list[list[int]]:
        """Token ids of the references; those of blank and of too long ones are empty: a cut one would never stop."""
        encoded = zip(batch, self.encode_references(batch), strict=True)
        return [
            ids if len(ids) <= self.max_new_tokens and (e.reference.strip() or e.is_raw_text) else []
            for e, ids in encoded
        ]

    def _count_too_long(self, examples: Sequence[Example], token_ids: Sequence[list[int]]) -> int:
        """Number of rows whose reference is too long for the loss; the first ones of a run are warned about."""
        written = [bool(example.reference.strip()) for example in examples]
        count = sum(has_one and not ids for has_one, ids in zip(written, token_ids, strict=True))
        if count and not self._warned_of_length:
            self._warned_of_length = True
            log.warning(
                "model.init_args.max_new_tokens: %d of %d references in this batch have more than %d tokens, and are "
                "left out of the loss, as a cut one would never stop; train/references_too_long counts them",
                count, sum(written), self.max_new_tokens,
            )  # fmt: skip
        return count
