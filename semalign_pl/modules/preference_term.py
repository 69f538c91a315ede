"""Contrastive preference optimisation (CPO, arXiv 2401.08417): its pairs, and its loss as a term."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from semalign_pl.engine.logprobs import CompletionLogprobs
from semalign_pl.engine.micro_batches import Completions
from semalign_pl.functional.losses import LossOutputs, nll_sum
from semalign_pl.functional.ranking import PairLoss, rank_groups
from semalign_pl.modules.loss_terms import LossTerm
from semalign_pl.modules.policy_term import masked_completions
from semalign_pl.modules.stage import SumAndCount
from semalign_pl.types import Rollouts


@dataclass(frozen=True, kw_only=True)
class PreferenceTerm(LossTerm):
    """Preference loss of pairs plus the NLL of the preferred completions (arXiv 2401.08417, equation 5).

    The completions of a pair may be in different chunks, and the preference loss needs both. So it is computed before,
    from log-probs without gradient; the slope of each pair then gives every chunk its exact gradient. As in TRL 1.16,
    the NLL is a mean over tokens. The denominator is the number of pairs on all ranks. With dropout in the adapter,
    loss and slope of a pair are those of the policy without it.

    Attributes:
        pairs: Loss and slope of each pair.
        nll_scale: Number of pairs divided by the number of tokens of the preferred completions, both on all ranks.
    """

    pairs: PairLoss
    nll_scale: float

    def __call__(self, logprobs: CompletionLogprobs) -> LossOutputs:
        """Sum the loss of the chunk's completions: preferred ones come first in ``completions``, then rejected ones."""
        logps, mask, count = logprobs.logps, logprobs.mask, len(self.pairs.loss)
        index = torch.tensor(logprobs.indices, device=logps.device)
        preferred = index < count
        slope = self.pairs.slope[index % count] * torch.where(preferred, -1.0, 1.0)
        linear = slope * logps.masked_fill(~mask, 0.0).sum(1)
        # The linear part gives the gradient, and is 0; the value of a pair is counted with its preferred completion.
        loss = linear - linear.detach() + self.pairs.loss[index % count] * preferred
        return LossOutputs(loss.sum() + self.nll_scale * nll_sum(logps, mask & preferred.unsqueeze(1)))


def preference_pairs(
    rollouts: Rollouts,
    references: Sequence[list[int]],
    rewards: Float[Tensor, " candidates"],
    in_loss: Bool[Tensor, " completions"],
) -> Completions:
    """Preferred completions, then the rejected ones in the same order, at temperature 1.

    The candidates of a prompt are its rollouts and its reference. The one with the highest reward is preferred to the
    one with the lowest. Prompts whose candidates have equal rewards give no pair.

    Args:
        rollouts: Completions of the policy.
        references: Token ids of the reference of each prompt; an empty list leaves it out.
        rewards: Reward per candidate, NaN where not scored; a prompt's rollouts, then its reference.
        in_loss: Mask of the rollouts that may be chosen.
    """
    k = rollouts.num_generations
    # The type is given, because torch takes an empty list, of a step whose rows are all replayed, for floats.
    usable = torch.tensor([bool(ids) for ids in references], dtype=torch.bool, device=in_loss.device)
    allowed = torch.cat([in_loss.view(-1, k), usable.unsqueeze(1)], 1).flatten()
    ranking = rank_groups(rewards.masked_fill(~allowed, float("nan")), k + 1)
    sampled = masked_completions(rollouts, rollouts.completion_mask, 1.0).completions
    candidates = [ids for i, own in enumerate(references) for ids in [*sampled[i * k : (i + 1) * k], own]]
    chosen = [*ranking.best[ranking.differ].tolist(), *ranking.worst[ranking.differ].tolist()]
    return Completions([rollouts.prompt_ids[i // (k + 1)] for i in chosen], [candidates[i] for i in chosen])


def pair_metrics(
    preferred_logps: Float[Tensor, " pairs"], rejected_logps: Float[Tensor, " pairs"]
) -> dict[str, SumAndCount]:
    """Difference of the log-probs, and 1 where the preferred completion is likelier: summed over this rank's pairs.

    Args:
        preferred_logps: Log-prob of each preferred completion.
        rejected_logps: Log-prob of each rejected completion.
    """
    difference = preferred_logps - rejected_logps
    sums = {"preference_margin": difference.sum(), "preference_accuracy": (difference > 0).sum()}
    return {name: (value, len(difference)) for name, value in sums.items()}
