"""On-policy distillation from the policy's own base, or from the same model with the reference shown in its prompt."""

from __future__ import annotations

from typing import Any, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable

from semalign_pl.engine.micro_batches import Completions
from semalign_pl.engine.model import Role
from semalign_pl.engine.targets import Target
from semalign_pl.functional.divergence import FullDivergence
from semalign_pl.modules.demonstration import check_demonstration, encode_demonstrations
from semalign_pl.modules.divergence_term import DivergenceTerm
from semalign_pl.modules.loss_terms import LossTerm
from semalign_pl.modules.policy_term import masked_completions
from semalign_pl.modules.sampling import ROLLOUT_ROWS, Sampling, SamplingStage, check_server
from semalign_pl.modules.stage import SumAndCount, check_counts
from semalign_pl.modules.step_timer import StepTimer
from semalign_pl.rollouts import ServerRollouts
from semalign_pl.types import Example, Rollouts

Teacher = Literal["base", "start", "policy"]
_ROLES: dict[Teacher, Role] = {"base": "base", "start": "reference", "policy": "policy"}


class DistillModule(SamplingStage):
    """Sample completions, and make the policy's distribution at each of their tokens more like a teacher's.

    The teacher is the same model with other weights or another prompt, so that no second model is loaded. The loss is
    the divergence from it per token of the samples (arXiv 2306.13649, equation 4). There are two uses:

    - heal: ``teacher: base`` on general prompts restores abilities of the base that an earlier stage lost. No reference
      is needed (``source_only: true`` in the task).
    - SDFT (arXiv 2601.19897): with ``demonstration``, the teacher is shown the reference in its prompt. The paper's
      teacher is an exponential moving average of the policy; ``policy`` and ``start`` are the two extremes of the
      average.

    On rows of replayed corpora (``replay: true`` in the data), the teacher is always the base without a demonstration.
    So one run can do both, in the shares that the weights of the corpora give.

    A row whose demonstration has more than ``max_prompt_tokens`` tokens is left out and counted, never cut: the teacher
    would imitate a reference that ends too early.

    Args:
        base: Hub id or folder of a causal LM.
        optimizer: Optimiser of the adapter weights; by default AdamW with SFT's learning rate, 2e-5.
        teacher: Weights of the teacher: base, the bare base; start, the policy at the start of the stage; or policy,
            the current policy.
        demonstration: Template of the teacher's message, with {prompt} and {reference}; null to give the teacher the
            same prompt as the policy.
        kind: Divergence: reverse_kl, which is KL(policy || teacher), the objective of SDFT's paper; forward_kl, which
            is KL(teacher || policy), that of its published code; or jsd.
        num_generations: Number of completions per prompt.
        temperature: Temperature of sampling; it also divides the logits of policy and teacher.
        top_p: Probability mass of the nucleus that tokens are sampled from; 1 for all tokens.
        rollout_rows: Number of completions that are decoded at once; lower it to save memory, results stay the same.
        rollouts: Servers that sample in place of this process (docs/scaling.md); null for none. Divergences are those
            at the server's samples, without importance weights.
        **kwargs: Arguments of AlignModule.
    """

    stage = "distill"

    def __init__(
        self,
        base: str,
        optimizer: OptimizerCallable = lambda p: torch.optim.AdamW(p, lr=2e-5),
        teacher: Teacher = "base",
        demonstration: str | None = None,
        kind: FullDivergence = "reverse_kl",
        num_generations: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        rollout_rows: int = ROLLOUT_ROWS,
        rollouts: ServerRollouts | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(base, optimizer=optimizer, **kwargs)
        check_counts(num_generations=num_generations, rollout_rows=rollout_rows)
        for name, value, valid in (("temperature", temperature, temperature > 0), ("top_p", top_p, 0 < top_p <= 1)):
            if not valid:
                raise ValueError(f"model.init_args.{name}: {value} gives nothing to sample from; use e.g. 1.0")
        if demonstration is not None:
            check_demonstration(demonstration)
        elif teacher != "base":
            raise ValueError(
                f"model.init_args.teacher: {teacher}: with the same prompt there is nothing to learn from it; set "
                "model.init_args.demonstration, which shows it the reference, or write teacher: base"
            )
        self.teacher: Teacher = teacher
        self.demonstration = demonstration
        self.kind: FullDivergence = kind
        self.num_generations, self.temperature, self.rollout_rows = num_generations, temperature, rollout_rows
        self.sampling = Sampling(temperature=temperature, top_p=top_p)
        self.server = rollouts
        if rollouts is not None:
            check_server(self.sampling, rollout_rows, self.corrects_sampler)
        self._epoch_began_at = -1  # stays -1 if a run resumes within an epoch, which has made steps

    def on_fit_start(self) -> None:
        """Refuse to heal a policy that is the base itself.

        Raises:
            ValueError: Names the missing adapter.
        """
        if self.demonstration is None and self.adapter is None:
            raise ValueError(
                "model.init_args.adapter: a new adapter starts as the base, from which there is then nothing to learn; "
                "give the adapter to heal, or set model.init_args.demonstration"
            )

    def training_step(self, batch: list[Example], batch_idx: int) -> dict[str, list[Example]]:
        """Sample completions, and make one optimiser step on their divergence from the teacher.

        Args:
            batch: Examples of this rank.
            batch_idx: Index of the batch in the epoch.

        Returns:
            For the callbacks: the examples.
        """
        timer = StepTimer(self.device)
        taught = self._taught(batch)
        nothing = torch.zeros((), device=self.device)
        metrics = {"loss": nothing, "grad_norm": nothing}
        with self.step_randomness() as seed:
            # The current weights sample, so the step is on-policy: samples need no importance ratio.
            with timer.phase("rollout"):
                rollouts = self.rollouts([example for example, _ in taught], self.num_generations, seed)
            terms = self._terms(rollouts, [target for _, target in taught])
            if terms:
                with timer.phase("update"):
                    metrics = self.optimise(terms)
        timer.tokens |= dict.fromkeys(("rollout", "update"), int(rollouts.completion_mask.sum()))
        completions = len(rollouts.texts)
        means: dict[str, SumAndCount] = {
            "completion_tokens": (rollouts.completion_mask.sum(), completions),
            "ended_by_eos": (rollouts.finished.sum(), completions),
        }
        self.log_train(
            {
                **metrics,
                **self.mean_over_ranks(means),
                "rows_too_long": self.sum_over_ranks(len(batch) - len(taught)),
                **timer.metrics(),
            },
            max(1, len(batch)),
        )
        return {"examples": batch}

    def on_train_epoch_start(self) -> None:
        """Record the number of updates at the start of the epoch."""
        self._epoch_began_at = self.updates_tried

    def on_train_epoch_end(self) -> None:
        """Stop a run that would never make a step.

        Raises:
            ValueError: If every demonstration of the epoch was too long.
        """
        if self.updates_tried == self._epoch_began_at:
            raise ValueError(
                f"model.init_args.max_prompt_tokens: every demonstration of the epoch has more than "
                f"{self.max_prompt_tokens} tokens, so nothing was trained; raise it"
            )

    def _taught(self, batch: list[Example]) -> list[tuple[Example, Target]]:
        """Examples with their teachers, without those whose demonstration is too long.

        Raises:
            ValueError: If an example has no prompt, or no reference that its teacher needs.
        """
        for example in batch:
            if example.is_raw_text:
                raise ValueError(
                    f"{example.id}: raw text has no prompt to complete; take it out of data.init_args.train, or train "
                    "an SFTModule on it"
                )
        shown = [example for example in batch if self.demonstration is not None and not example.replay]
        encoder, limit = self.policy.encoder, self.max_prompt_tokens
        encoded = encode_demonstrations(shown, self.demonstration or "", encoder, limit)
        prompts = {id(example): ids for example, ids in zip(shown, encoded, strict=True)}
        taught: list[tuple[Example, Target]] = []
        for example in batch:
            if id(example) not in prompts:
                taught.append((example, Target("base", self.kind, logprobs=False)))
            elif ids := prompts[id(example)]:
                taught.append((example, Target(_ROLES[self.teacher], self.kind, ids, logprobs=False)))
        return taught

    def _terms(self, rollouts: Rollouts, targets: list[Target]) -> list[LossTerm]:
        """One term for rows with a demonstration and one for the others, so that each is logged per its own token.

        Weighted by their shares of the tokens, they add up to the mean over all tokens of the step on all ranks.
        """
        completions = masked_completions(rollouts, rollouts.completion_mask, self.temperature)
        repeated = [target for target in targets for _ in range(self.num_generations)]
        total = self.sum_over_ranks(completions.tokens)
        terms: list[LossTerm] = []
        for name, shown in (("teacher_divergence", True), ("base_divergence", False)):
            places = [place for place, target in enumerate(repeated) if (target.prompt is not None) == shown]
            chosen = Completions(
                [completions.prompts[place] for place in places],
                [completions.completions[place] for place in places],
                [self.temperature] * len(places),
                [repeated[place] for place in places],
            )
            # All ranks have the same terms, also a rank without such rows.
            if tokens := self.sum_over_ranks(chosen.tokens):
                terms.append(DivergenceTerm(name=name, completions=chosen, denominator=tokens, weight=tokens / total))
        return terms
