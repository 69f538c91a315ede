"""Supervised fine-tuning: the cold start of GRPO, and a strong baseline."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from lightning.pytorch.cli import OptimizerCallable

from semalign_pl.engine.micro_batches import Completions
from semalign_pl.engine.targets import Target
from semalign_pl.functional.token_weights import TokenWeight
from semalign_pl.modules.base import AlignModule
from semalign_pl.modules.divergence_term import DivergenceTerm
from semalign_pl.modules.loss_terms import LossTerm, NLLTerm, sum_without_gradient
from semalign_pl.modules.reference_term import check_token_weight, reference_term
from semalign_pl.modules.sources import Sources, count_sources
from semalign_pl.modules.step_timer import StepTimer
from semalign_pl.modules.validation_loss import ValidationLoss
from semalign_pl.protocols import MixedData
from semalign_pl.run.trainer import data_module_of
from semalign_pl.types import Example, PredictionOutputs


class SFTModule(AlignModule):
    """Train on references with the cross-entropy of completion tokens, divided by their number in the whole step.

    The prompt is rendered by the model's chat template. The reference follows it and ends in the end-of-turn token,
    which is trained too. A reference longer than ``max_new_tokens`` is left out and counted, never cut: a cut one would
    teach the policy not to stop. Validation logs the same loss of its corpus as ``val/loss``, without the KL.

    In a mix of corpora, ``train/loss/NAME`` and ``val/loss/NAME`` are the per-token losses of each, and
    ``train/token_share/NAME`` its share of the tokens in the loss. Raw text (the task RawText) has no chat template:
    training on it is continued pretraining, and ``val/bits_per_byte`` compares it across vocabularies.

    Args:
        base: Hub id or folder of a causal LM.
        optimizer: Optimiser of the adapter weights; by default AdamW with the method's learning rate, 2e-5.
        token_weight: Weight of each token in the training loss, from its probability or entropy: none, dft (arXiv
            2508.05629), eaft (2601.02151), talr (2509.20758; one more forward per step) or chord (2508.11408).
        beta: Weight of the KL to the reference policy on the references' tokens, a mean per token in nats; 0 saves its
            forward.
        kl: KL to compute. forward_kl: KL(reference policy || policy) over the full vocabulary. k3: Schulman's estimate
            of KL(policy || reference policy) at the references' tokens, which is unbiased for samples of the policy
            only.
        reference: Reference policy: start, the policy at the start of the stage; or base, the bare base.
        **kwargs: Arguments of AlignModule.

    Attributes:
        kl_name: Log name of the KL: kl_to_reference or kl_to_base.
    """

    stage = "sft"
    trains_references = True

    def __init__(
        self,
        base: str,
        optimizer: OptimizerCallable = lambda p: torch.optim.AdamW(p, lr=2e-5),
        token_weight: TokenWeight = "none",
        beta: float = 0.0,
        kl: Literal["forward_kl", "k3"] = "forward_kl",
        reference: Literal["base", "start"] = "start",
        **kwargs: Any,
    ) -> None:
        super().__init__(base, optimizer=optimizer, **kwargs)
        check_token_weight(token_weight, "token_weight")
        self.token_weight: TokenWeight = token_weight
        if not 0 <= beta < float("inf"):
            raise ValueError(f"model.init_args.beta: {beta} is not a weight; use e.g. 0.1, or 0 for no KL")
        for name, value, default in (("kl", kl, "forward_kl"), ("reference", reference, "start")):
            if beta == 0 and value != default:
                raise ValueError(f"model.init_args.{name}: {value}: the KL has no weight; set beta, e.g. 0.1")
        self.beta = beta
        self._target = Target("base" if reference == "base" else "reference", kl)
        self.kl_name = f"kl_to_{self._target.role}"
        self._validation_loss = ValidationLoss([])
        self._epoch_began_at = -1  # stays -1 if a run resumes within an epoch, which has made steps

    def training_step(self, batch: list[Example], batch_idx: int) -> dict[str, list[Example]]:
        """Make one optimiser step on one batch.

        Args:
            batch: Examples of this rank.
            batch_idx: Index of the batch in the epoch.

        Returns:
            For the callbacks: the examples.

        Raises:
            ValueError: If an example has no reference.
        """
        self.check_references(batch)
        timer = StepTimer(self.device)
        fitting = self._fitting(batch)
        references = self._references(fitting)
        sources = count_sources(self.trainer, self.device, fitting, references)
        # Every rank divides by the same number of tokens, so that each token of the step has the same weight.
        tokens = self.sum_over_ranks(references.tokens)
        nothing = torch.zeros((), device=self.device)
        metrics = {"loss": nothing, "grad_norm": nothing}
        if tokens > 0:
            with self.step_randomness(), timer.phase("update"):
                metrics = self.optimise(self._terms(references, tokens, sources))
        anchor_tokens = int(metrics.get("anchor_tokens", 0))
        timer.tokens["update"] = references.tokens + sum(map(len, references.prompts)) + anchor_tokens
        self.log_train(
            {
                **metrics,
                **(sources.shares if sources else {}),
                **self.mean_over_ranks({"completion_tokens": (references.tokens, len(references))}),
                "rows_too_long": self.sum_over_ranks(len(batch) - len(references)),
                **timer.metrics(),
            },
            len(batch),
        )
        return {"examples": batch}

    def _terms(self, references: Completions, tokens: float, sources: Sources | None) -> list[LossTerm]:
        """NLL of the references, and the KL to the reference policy on the same tokens if it has a weight."""
        if self.beta <= 0:
            return [reference_term(self, references, tokens, self.token_weight, sources=sources)]
        compared = replace(references, targets=[self._target] * len(references))
        return [
            reference_term(self, compared, tokens, self.token_weight, sources=sources),
            DivergenceTerm(name=self.kl_name, completions=compared, denominator=tokens, weight=self.beta),
        ]

    def on_validation_epoch_start(self) -> None:
        """Reset the validation loss."""
        data = data_module_of(self.trainer)
        self._validation_loss = ValidationLoss(
            data.corpus_names.get("validation", ()) if isinstance(data, MixedData) else ()
        )

    def validation_step(self, batch: list[Example], batch_idx: int) -> PredictionOutputs:
        """Add the loss of the references, and complete the batch greedily for the callbacks that score completions."""
        # The loss and the completions use the same prompts: encoded once, long prompts are cut and counted once.
        prompts = self.encode(batch)
        batch = [replace(example, prompt_ids=ids) for example, ids in zip(batch, prompts, strict=True)]
        given = [example for example in batch if example.reference.strip() or example.is_raw_text]
        fitting = self._fitting(given)
        self._validation_loss.leave_out(len(given) - len(fitting))
        for corpus, raw in dict.fromkeys((example.corpus, example.is_raw_text) for example in fitting):
            rows = [example for example in fitting if (example.corpus, example.is_raw_text) == (corpus, raw)]
            references = self._references(rows)
            term = NLLTerm(name="reference_nll", completions=references, denominator=references.tokens)
            nll = sum_without_gradient(self.policy, term, self.micro_batch_tokens)
            size = sum(example.text_bytes or 0 for example in rows) if raw else None
            self._validation_loss.add(corpus, nll, references.tokens, size)
        return super().validation_step(batch, batch_idx)

    def on_validation_epoch_end(self) -> None:
        """Log the per-token loss of the references, over all rows and ranks, and per corpus of a mix."""
        for name, value in self._validation_loss.metrics(self.sum_tensor_over_ranks).items():
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

    def _references(self, batch: list[Example]) -> Completions:
        """References of a batch with their prompts, without those that are too long."""
        fitting = self._fitting(batch)
        return Completions(self.encode(fitting), self.encode_references(fitting))

    def _fitting(self, batch: list[Example]) -> list[Example]:
        """Examples whose references are not too long, with the token ids of these."""
        encoded = zip(batch, self.encode_references(batch), strict=True)
        return [replace(example, completion_ids=ids) for example, ids in encoded if len(ids) <= self.max_new_tokens]
