"""Supervised fine-tuning: the cold start of GRPO, and a strong baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable

from semalign_pl.engine.micro_batches import Completions
from semalign_pl.functional.losses import nll_sum
from semalign_pl.modules.base import AlignModule
from semalign_pl.modules.reference_loss import ReferenceLoss
from semalign_pl.modules.step_timer import StepTimer
from semalign_pl.types import Example, PredictionOutputs


class SFTModule(AlignModule):
    """Train on references with the cross-entropy of completion tokens, divided by their number in the whole step.

    The prompt is rendered by the model's chat template. The reference follows it and ends in the end-of-turn token,
    which is trained too. A reference longer than ``max_new_tokens`` is left out and counted, never cut: a cut one would
    teach the policy not to stop. Validation logs the same loss of its corpus as ``val/loss``.

    Args:
        base: Hub id or folder of a causal LM.
        optimizer: Optimiser of the adapter weights; by default AdamW with the method's learning rate, 2e-5.
        **kwargs: Arguments of AlignModule.
    """

    stage = "sft"
    trains_references = True

    def __init__(
        self, base: str, optimizer: OptimizerCallable = lambda p: torch.optim.AdamW(p, lr=2e-5), **kwargs: Any
    ) -> None:
        super().__init__(base, optimizer=optimizer, **kwargs)
        self._heldout = ReferenceLoss()
        self._epoch_began_at = -1  # stays -1 if a run resumes within an epoch, which has made steps

    def training_step(self, batch: list[Example], batch_idx: int) -> dict[str, list[Example]]:
        """Make one optimiser step on one batch.

        Args:
            batch: Examples of this rank.
            batch_idx: Index of the batch in the epoch.

        Returns:
            For the callbacks: the examples.
        """
        profile = StepTimer(self.device)
        rows = self._rows(batch)
        # Every rank divides by the same number of tokens, so that each token of the step has the same weight.
        tokens = self.sum_over_ranks(rows.tokens)
        loss = torch.zeros((), device=self.device)
        norm = torch.zeros((), device=self.device)
        if tokens > 0:
            with self.step_randomness(), profile.phase("update"):
                for part in self.scored(rows):
                    nll = nll_sum(part.logps, part.mask) / tokens
                    self.accumulate(nll)
                    loss += nll.detach()
                norm = self.update()
        profile.tokens["update"] = rows.tokens + sum(map(len, rows.prompts))
        self.log_train(
            {
                # Each rank has its share of the mean over all ranks; log_train averages over ranks.
                "loss": loss * self.trainer.world_size,
                "grad_norm": norm,
                "completion_tokens": rows.tokens / max(1, len(rows.prompts)),
                "rows_too_long": float(len(batch) - len(rows.prompts)),
                **profile.metrics(),
            },
            len(batch),
        )
        return {"examples": batch}

    def on_validation_epoch_start(self) -> None:
        """Reset the validation loss."""
        self._heldout = ReferenceLoss()

    def validation_step(self, batch: list[Example], batch_idx: int) -> PredictionOutputs:
        """Add the loss of the references, and complete the batch greedily for the callbacks that score completions."""
        # The loss and the completions use the same prompts: encoded once, long prompts are cut and counted once.
        prompts = self.encode(batch)
        batch = [replace(example, prompt_ids=ids) for example, ids in zip(batch, prompts, strict=True)]
        given = [example for example in batch if example.reference]
        rows = self._rows(given)
        self._heldout.update(self.policy, rows, len(given) - len(rows.prompts), self.micro_batch_tokens)
        return super().validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Log the per-token loss of the references, over all rows and ranks."""
        for name, value in self._heldout.compute(self.trainer).items():
            self.log(f"val/{name}", value, batch_size=1, prog_bar=name == "loss")

    def on_train_epoch_start(self) -> None:
        """Record the number of updates at the start of the epoch."""
        self._epoch_began_at = self.updates_tried

    def on_train_epoch_end(self) -> None:
        """Stop a run that would never make a step.

        Raises:
            ValueError: If every reference of the epoch was too long.
        """
        if self.updates_tried == self._epoch_began_at:
            raise ValueError(
                f"model.init_args.max_new_tokens: every reference of the epoch is longer than {self.max_new_tokens} "
                "tokens, so nothing was trained; raise it (semalign fit logs train/rows_too_long)"
            )

    def _rows(self, batch: list[Example]) -> Completions:
        completions = self.encode_references(batch)
        kept = [i for i, ids in enumerate(completions) if len(ids) <= self.max_new_tokens]
        return Completions(self.encode([batch[i] for i in kept]), [completions[i] for i in kept])
