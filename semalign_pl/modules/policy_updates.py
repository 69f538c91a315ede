"""Updates of a policy on its own completions: the policy objective, the best of each group, and preferences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from semalign_pl.engine.logprobs import compute_logprobs
from semalign_pl.engine.micro_batches import Completions
from semalign_pl.functional.importance import sampler_weights
from semalign_pl.functional.objective import Objective
from semalign_pl.functional.ranking import preference_loss, rank_groups
from semalign_pl.functional.token_weights import TokenWeight
from semalign_pl.modules.loss_terms import LossTerm, NLLTerm
from semalign_pl.modules.policy_term import PolicyTerm, loss_mask, masked_completions
from semalign_pl.modules.preference_term import PreferenceTerm, pair_metrics, preference_pairs
from semalign_pl.modules.reference_term import reference_term
from semalign_pl.modules.sampling import SamplingStage
from semalign_pl.modules.sources import count_sources
from semalign_pl.modules.step_timer import StepTimer
from semalign_pl.types import Example, Rollouts

Update = Literal["grpo", "bnpo", "dr_grpo", "dapo", "cispo", "best_of_group", "cpo"]
"""Name of an update: a policy objective (functional/objective.py), or a loss that uses only the ranking by reward."""
Schedule = Literal["constant", "linear"]


class PolicyUpdates(SamplingStage):
    """Stage that updates its policy on given completions; a subclass samples them, scores them, and chooses the update.

    Attributes:
        objective: Policy objective with the weight of the KL.
        temperature: Temperature of the samples, and of the log-probs of their objective.
        num_iterations: Number of optimiser steps per batch of completions.
        mask_truncated_completions: Flag to leave completions that did not end in an EOS out of the loss.
        preference_beta: Factor on the difference of log-probs in CPO's loss.
        reference_nll_weight: Weight of SFT's loss on the references at the start of the run.
        reference_nll_schedule: Schedule of that weight: constant, or linear to 0 at the end of the run.
        reference_token_weight: Weight of each token in that loss.
        replay_nll_weight: Weight of SFT's loss on replayed rows.
        run_steps: Number of optimiser steps of the run.
        max_importance_ratio: Largest importance weight of a token that another sampler drew.
    """

    objective: Objective
    temperature: float
    num_iterations: int
    mask_truncated_completions: bool
    preference_beta: float
    reference_nll_weight: float
    reference_nll_schedule: Schedule
    reference_token_weight: TokenWeight
    replay_nll_weight: float
    run_steps: int
    max_importance_ratio: float = 2.0

    def policy_update(
        self,
        rollouts: Rollouts,
        advantages: Float[Tensor, " completions"],
        references: Sequence[list[int]] = (),
        timer: StepTimer | None = None,
        more_terms: Sequence[LossTerm] = (),
    ) -> dict[str, Tensor]:
        """Make ``num_iterations`` optimiser steps of the objective (by default DeepSeekMath, equation 3).

        The last batch of the run makes fewer steps if ``max_steps`` is reached first.

        Args:
            rollouts: Completions to train on.
            advantages: Advantage per rollout, float32.
            references: Token ids of the reference completions, one list per prompt, for SFT's loss; an empty list
                leaves a prompt out of it.
            timer: Timer that gets seconds and tokens of the phases ``reference`` and ``update``.
            more_terms: Further terms of the loss, the same on all ranks.

        Returns:
            Scalars to log: loss, kl (if it has a weight), entropy, clip_share, grad_norm; with references also each
            term of the loss. A mean over no token is NaN.
        """
        timer = StepTimer(self.device) if timer is None else timer
        term = self._policy_term("policy_loss", rollouts, advantages, timer)
        others = self._reference_terms(rollouts.prompt_ids, references, timer)
        return self._optimise([term, *others, *more_terms], timer)

    def best_of_group_update(
        self,
        rollouts: Rollouts,
        rewards: Float[Tensor, " completions"],
        references: Sequence[list[int]] = (),
        timer: StepTimer | None = None,
        more_terms: Sequence[LossTerm] = (),
    ) -> dict[str, Tensor]:
        """Make ``num_iterations`` optimiser steps on the NLL of the best completion of each group.

        RAFT (arXiv 2304.06767) in every step, the on-policy SFT of arXiv 2510.18874, section 4.2: GRPO's samples and
        rewards without its advantages. Groups of equal rewards are left out, because none of their completions is
        better than another: their NLL would make the policy more certain of what it does already. Log-probs are at the
        sampling temperature: the gradient is GRPO's for an advantage of 1 for the best and 0 for the others.

        Args:
            rollouts: Completions to choose from.
            rewards: Total reward per rollout, NaN where not scored.
            references: Token ids of the references, as in ``policy_update``.
            timer: Timer, as in ``policy_update``.
            more_terms: Further terms, as in ``policy_update``.

        Returns:
            Scalars to log: loss, grad_norm, and each term of the loss if there are several.
        """
        timer = StepTimer(self.device) if timer is None else timer
        in_loss = loss_mask(rollouts, self.mask_truncated_completions).any(1)
        ranking = rank_groups(rewards.masked_fill(~in_loss, float("nan")), rollouts.num_generations)
        chosen = torch.zeros_like(in_loss)
        chosen[ranking.best[ranking.differ]] = True
        completions = masked_completions(rollouts, rollouts.completion_mask & chosen.unsqueeze(1), self.temperature)
        tokens = max(1.0, self.sum_over_ranks(completions.tokens))
        term = NLLTerm(name="best_nll", completions=completions, denominator=tokens)
        others = self._reference_terms(rollouts.prompt_ids, references, timer)
        return self._optimise([term, *self._kl_terms(rollouts, timer), *others, *more_terms], timer)

    def preference_update(
        self,
        rollouts: Rollouts,
        rewards: Float[Tensor, " candidates"],
        references: Sequence[list[int]],
        timer: StepTimer | None = None,
        more_terms: Sequence[LossTerm] = (),
    ) -> dict[str, Tensor]:
        """Make an optimiser step of CPO (arXiv 2401.08417, equation 5).

        It prefers the best to the worst of a prompt's rollouts and its reference; see ``preference_pairs``.

        Args:
            rollouts: Completions to choose from.
            rewards: Total reward per candidate, NaN where not scored; a prompt's rollouts, then its reference.
            references: Token ids of the reference completions, one list per prompt.
            timer: Timer, as in ``policy_update``.
            more_terms: Further terms, as in ``policy_update``.

        Returns:
            Scalars to log: loss, preference_margin, preference_accuracy (at the step's first weights), grad_norm, and
            each term of the loss if there are several.
        """
        timer = StepTimer(self.device) if timer is None else timer
        in_loss = loss_mask(rollouts, self.mask_truncated_completions).any(1)
        completions = preference_pairs(rollouts, references, rewards, in_loss)
        count = len(completions) // 2
        tokens = max(1.0, self.sum_over_ranks(sum(map(len, completions.completions[:count]))))
        all_pairs = max(1.0, self.sum_over_ranks(count))
        with timer.phase("update"):
            logps = compute_logprobs(self.policy, completions, self.micro_batch_tokens).sum(1)
            pairs = preference_loss(logps[:count], logps[count:], self.preference_beta)
        term = PreferenceTerm(
            name="cpo_loss", completions=completions, denominator=all_pairs, pairs=pairs, nll_scale=all_pairs / tokens
        )
        others = self._reference_terms(rollouts.prompt_ids, references, timer)
        metrics = self._optimise([term, *self._kl_terms(rollouts, timer), *others, *more_terms], timer)
        return metrics | self.mean_over_ranks(pair_metrics(logps[:count], logps[count:]))

    def reference_weight(self) -> float:
        """Weight of SFT's loss on the references at this step; CHORD's mu (arXiv 2508.11408, equation 3) decays too."""
        left = 1.0 if self.reference_nll_schedule == "constant" else 1 - self.global_step / self.run_steps
        return self.reference_nll_weight * max(0.0, left)

    def _optimise(self, terms: Sequence[LossTerm], timer: StepTimer) -> dict[str, Tensor]:
        """Make the optimiser steps of this batch."""
        weight = {"reference_nll_weight": torch.tensor(self.reference_weight(), device=self.device)}
        with timer.phase("update"):
            metrics = self.optimise(terms, iterations := self._iterations())
        timer.tokens["update"] = sum(term.completions.tokens for term in terms) * iterations
        return metrics if self.reference_nll_schedule == "constant" else metrics | weight

    def _policy_term(
        self, name: str, rollouts: Rollouts, advantages: Float[Tensor, " completions"], timer: StepTimer
    ) -> PolicyTerm:
        """Policy objective on rollouts."""
        in_loss = loss_mask(rollouts, self.mask_truncated_completions)
        # Without a KL, the advantage is the only source of a gradient: other rollouts are not forwarded. They still
        # count in the denominator, so that what is saved does not change the gradient.
        forwarded = in_loss if self.objective.beta > 0 else in_loss & (advantages != 0).unsqueeze(1)
        completions = masked_completions(rollouts, forwarded, self.temperature)
        denominator = self._denominator(in_loss)
        # 4. Reference: the KL needs log-probs of the policy at the start of the stage. It never changes, so one forward
        # per batch serves all iterations.
        ref_logps = old_logps = None
        if self.objective.beta > 0:
            with timer.phase("reference"), self.policy.acting_as("reference"):
                ref_logps = compute_logprobs(self.policy, completions, self.micro_batch_tokens)
        timer.tokens["reference"] = completions.tokens
        # 5. Update: from the second iteration on the policy has moved away from its rollouts, and the ratio corrects
        # for that. Another sampler's probabilities differ from the first iteration on.
        sampler = None
        if self.num_iterations > 1 or rollouts.sampler_logps is not None:
            with timer.phase("update"):
                old_logps = compute_logprobs(self.policy, completions, self.micro_batch_tokens)
        if old_logps is not None and rollouts.sampler_logps is not None:
            width, most = old_logps.shape[1], self.max_importance_ratio
            sampler = sampler_weights(old_logps, rollouts.sampler_logps[:, :width], forwarded[:, :width], most)
        return PolicyTerm(
            name=name, completions=completions, denominator=denominator, objective=self.objective,
            advantages=advantages, old_logps=old_logps if self.num_iterations > 1 else None, ref_logps=ref_logps,
            sampler=sampler,
        )  # fmt: skip

    def _kl_terms(self, rollouts: Rollouts, timer: StepTimer) -> list[LossTerm]:
        """KL to the reference on all rollouts, if it has a weight: the policy objective without advantages."""
        if self.objective.beta <= 0:
            return []
        nothing = torch.zeros(len(rollouts.texts), device=self.device)
        return [self._policy_term("kl_loss", rollouts, nothing, timer)]

    def _reference_terms(
        self, prompts: list[list[int]], references: Sequence[list[int]], timer: StepTimer
    ) -> list[LossTerm]:
        """SFT's loss on the references, if it has a weight."""
        if self.reference_nll_weight <= 0:
            return []
        completions = Completions(prompts[: len(references)], list(references))
        tokens = max(1.0, self.sum_over_ranks(completions.tokens))
        with timer.phase("update"):
            return [reference_term(self, completions, tokens, self.reference_token_weight, self.reference_weight())]

    def _replay_terms(self, replayed: Sequence[Example], references: list[list[int]]) -> list[LossTerm]:
        """SFT's loss on the step's replayed rows; none if no rank has such a row."""
        if not self.sum_over_ranks(len(replayed)):
            return []
        completions = Completions(self.encode(list(replayed)), references)
        tokens = max(1.0, self.sum_over_ranks(completions.tokens))
        sources = count_sources(self.trainer, self.device, replayed, completions)
        name, weight = "replay_nll", self.replay_nll_weight
        return [NLLTerm(name=name, completions=completions, denominator=tokens, weight=weight, sources=sources)]

    def _denominator(self, in_loss: Tensor) -> float:
        """Denominator of the objective for the whole step on all ranks, from the mask of this rank's tokens in it."""
        lengths = in_loss.sum(1).tolist()
        tokens_here = float(sum(lengths))
        completions, tokens = self.sum_over_ranks(sum(n > 0 for n in lengths)), self.sum_over_ranks(tokens_here)
        return self.objective.denominator(
            completions, tokens, tokens_here, self.trainer.world_size, self.max_new_tokens
        )

    def _iterations(self) -> int:
        """Number of optimiser steps of this batch: fewer than ``num_iterations`` if ``max_steps`` ends the run."""
        left = self.trainer.max_steps - self.global_step
        return min(self.num_iterations, left) if self.trainer.max_steps > 0 and left > 0 else self.num_iterations
