"""Policy objective as a term of the loss, and the tokens of rollouts that it trains on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from semalign_pl.engine.logprobs import CompletionLogprobs
from semalign_pl.engine.micro_batches import Completions
from semalign_pl.functional.importance import SamplerWeights
from semalign_pl.functional.losses import LossInputs, LossOutputs
from semalign_pl.functional.objective import Objective
from semalign_pl.modules.loss_terms import LossTerm
from semalign_pl.types import Rollouts


@dataclass(frozen=True, kw_only=True)
class PolicyTerm(LossTerm):
    """Policy objective on rollouts: clipped surrogate and KL to the reference.

    Attributes:
        objective: Objective; it defines the denominator.
        advantages: Advantage per completion.
        old_logps: Log-probs of the policy before the first update of this batch; ``None`` if there is only one update.
        ref_logps: Log-probs of the reference; ``None`` leaves the KL out.
        sampler: Importance weights of the tokens; ``None`` if the policy itself sampled them.
    """

    objective: Objective
    advantages: Float[Tensor, " completions"]
    old_logps: Float[Tensor, "completions tokens"] | None = None
    ref_logps: Float[Tensor, "completions tokens"] | None = None
    sampler: SamplerWeights | None = None
    logged: ClassVar[tuple[str, ...]] = ("entropy", "clip_share")

    @property
    def log_denominators(self) -> Mapping[str, float]:
        """Divisor of the values per token, those of the KL and of the importance weights included if there are any."""
        kl = () if self.ref_logps is None else ("kl",)
        names = (*kl, *self.logged, *(self.sampler.logged if self.sampler else ()))
        return dict.fromkeys(names, float(self.completions.tokens))

    def __call__(self, logprobs: CompletionLogprobs) -> LossOutputs:
        """Sum the objective over the chunk's completions."""
        tokens = logprobs.logps.shape[1]
        index = torch.tensor(logprobs.indices, device=logprobs.logps.device)
        outputs = self.objective(
            LossInputs(
                logps=logprobs.logps,
                # The first update is on-policy: the old log-probs are the current ones, the ratio is exactly 1.
                old_logps=logprobs.logps.detach() if self.old_logps is None else self.old_logps[index, :tokens],
                ref_logps=None if self.ref_logps is None else self.ref_logps[index, :tokens],
                advantages=self.advantages[index],
                completion_mask=logprobs.mask,
                entropy=logprobs.entropy,
                weights=None if self.sampler is None else self.sampler.weights[index, :tokens],
            )
        )
        if self.sampler is None:
            return outputs
        values = {name: value[index, :tokens] * logprobs.mask for name, value in self.sampler.logged.items()}
        return replace(outputs, token_sums={**outputs.token_sums, **{n: v.sum() for n, v in values.items()}})


def loss_mask(rollouts: Rollouts, mask_truncated: bool) -> Bool[Tensor, "completions tokens"]:
    """Mask of the tokens in the loss, which its denominators count.

    Args:
        rollouts: Completions to train on.
        mask_truncated: Flag to leave out completions that did not end in an EOS.
    """
    mask = rollouts.completion_mask
    return mask & rollouts.finished.unsqueeze(1) if mask_truncated else mask


def masked_completions(rollouts: Rollouts, mask: Bool[Tensor, "completions tokens"], temperature: float) -> Completions:
    """Rollouts to forward; those without a token in the mask become empty, and cost nothing.

    Args:
        rollouts: Completions to train on.
        mask: Mask of the tokens to keep, of which each completion has all or none.
        temperature: Temperature of the logits.
    """
    kept = zip(rollouts.completion_ids.tolist(), mask.sum(1).tolist(), strict=True)
    completions = [ids[:length] for ids, length in kept]
    prompts = [prompt for prompt in rollouts.prompt_ids for _ in range(rollouts.num_generations)]
    return Completions(prompts, completions, [temperature] * len(completions))
