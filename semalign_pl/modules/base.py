"""Base of SFT and GRPO: the policy, its micro-batches, generation, and checkpoints of the adapter alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.nn.modules.module import _IncompatibleKeys

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.engine.generate import generate
from semalign_pl.engine.logprobs import LogprobScorer
from semalign_pl.engine.micro_batches import micro_batches
from semalign_pl.files.digest import digest
from semalign_pl.finite import check_to_write
from semalign_pl.modules.anchor import Anchor, AnchorSettings
from semalign_pl.modules.loss_terms import LossTerm, StepLoss
from semalign_pl.modules.parameter_groups import Groups, parameter_groups
from semalign_pl.modules.schedule import Cosine, ScheduleCallable
from semalign_pl.modules.stage import StageModule, check_counts
from semalign_pl.modules.stage_checkpoint import Checkpoint
from semalign_pl.policy.adapter import adapter_state, export_adapter, fingerprint, load_adapter_state
from semalign_pl.policy.adapter_start import check_scale
from semalign_pl.policy.base_checks import check_length
from semalign_pl.policy.load import Weights, load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings, VocabularySettings
from semalign_pl.policy.vocabulary import added_tokens_digest
from semalign_pl.protocols import TakesEncoder
from semalign_pl.run.trainer import callbacks_of, data_module_of
from semalign_pl.types import Example, PredictionOutputs


class AlignModule(StageModule):
    """Stage that trains a policy; subclasses implement ``training_step``.

    Args:
        base: Hub id or folder of a causal LM.
        weights: Quantisation or precision of the frozen base: nf4 (4-bit, double quantisation), bf16 or fp32.
        adapter: PEFT folder of the adapter to continue training; it is then also GRPO's reference.
        adapter_scale: Scale of the adapter's update, from 0 (`scale_from` alone) to 1 (the adapter itself).
        scale_from: Start of the scale: base; start, which is the adapter that `adapter` was trained from; or a PEFT
            folder.
        lora: Settings of a new adapter; leave it out for the method's defaults, or for those of `adapter`.
        vocabulary: Settings to add frequent syllables of the language as tokens. Only for a new adapter, which is
            saved with them.
        chat_template: Jinja file or text of a chat template, in place of the base's. Only for a new adapter, which is
            saved with it.
        optimizer: Optimiser of the adapter weights (float32).
        lr_scheduler: Learning-rate schedule, stepped once per optimiser step. It gets the number of steps of the run if
            it has a parameter for it (total_steps, …).
        max_grad_norm: Maximum gradient norm; larger gradients are clipped to it.
        micro_batch_tokens: Maximum number of tokens per forward and backward, prompts and completions together; lower
            it to save memory, results stay the same.
        recompute: Activation checkpointing: each layer's activations are computed again in backward, which costs one
            more forward and saves most of their memory.
        max_prompt_tokens: Maximum number of tokens per prompt; longer ones are cut at the end of the message, and
            counted.
        max_new_tokens: Maximum number of tokens per completion, in training and generation.
        anchor: Settings of the anchor, which adds the divergence from the base on unlabelled general text to the loss;
            null for none.
        seed: Seed of adapter initialisation, dropout and sampling; the CLI sets it from seed_everything.
    """

    trains_references = False
    resume_hint = "To start from another stage's result, give its adapter folder: --model.init_args.adapter RUN/adapter"

    def __init__(
        self,
        base: str,
        weights: Weights = "nf4",
        adapter: str | None = None,
        adapter_scale: float = 1.0,
        scale_from: str = "base",
        lora: LoraSettings | None = None,
        vocabulary: VocabularySettings | None = None,
        chat_template: str | None = None,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: ScheduleCallable = Cosine,
        max_grad_norm: float = 1.0,
        micro_batch_tokens: int = 4096,
        recompute: bool = False,
        max_prompt_tokens: int = 1024,
        max_new_tokens: int = 256,
        anchor: AnchorSettings | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, max_grad_norm, seed)
        check_counts(
            micro_batch_tokens=micro_batch_tokens, max_prompt_tokens=max_prompt_tokens, max_new_tokens=max_new_tokens
        )
        check_scale(adapter, adapter_scale, scale_from)
        self.base, self.adapter, self.lora = base, adapter, lora
        self.adapter_scale, self.scale_from = adapter_scale, scale_from
        self.weights: Weights = weights
        self.vocabulary, self.chat_template = vocabulary, chat_template
        self.micro_batch_tokens, self.recompute = micro_batch_tokens, recompute
        self.max_prompt_tokens, self.max_new_tokens = max_prompt_tokens, max_new_tokens
        self._anchor = None if anchor is None else Anchor(anchor, seed)
        self._policy: Policy | None = None

    @property
    def anchor_weight(self) -> float:
        """Weight of the anchor, 0 without one; a callback may set it between steps."""
        return 0.0 if self._anchor is None else self._anchor.weight

    @anchor_weight.setter
    def anchor_weight(self, value: float) -> None:
        assert self._anchor is not None, "without settings there is no anchor to weigh"
        self._anchor.weight = value

    @property
    def policy(self) -> Policy:
        """Policy under training, loaded by ``configure_model``."""
        assert self._policy is not None, "the policy is loaded by configure_model, which a Trainer calls"
        return self._policy

    def configure_model(self) -> None:
        """Load the policy onto the strategy's device in the first call, and hand its encoder to the data module.

        Lightning calls this after the data module's ``setup`` and before any loader is made.

        Raises:
            ValueError: If the policy cannot be loaded, the strategy shards the model, the trainer has a precision or
                callback that is refused, a probe measures text of the anchor, or the longest row would change the
                positions of all rows (RoPE scaling).
        """
        if self._policy is None:
            if self._anchor is not None:
                self._anchor.check_probes(callbacks_of(self.trainer))
            self._load_policy()
        self.connect(data_module_of(self.trainer), self.policy.encoder)

    def _load_policy(self) -> None:
        with self.setting_up() as device:
            self._policy = load_policy(
                self.base,
                self.weights,
                self.lora,
                self.adapter,
                device,
                self.vocabulary,
                self.adapter_scale,
                self.scale_from,
                self.chat_template,
            )
        config = self.policy.model.config.get_text_config()
        anchor_tokens = 0 if self._anchor is None else self._anchor.settings.max_tokens
        tokens = self.max_prompt_tokens + self.max_new_tokens
        check_length(self.base, self.policy.model, config, tokens, anchor_tokens)
        self._reference = fingerprint(adapter_state(self.policy, "reference")) if self.adapter else "base"

    def connect(self, data: object, encoder: PromptEncoder) -> None:
        """Hand the encoder and the limits on lengths to a data module that takes them.

        Other data modules give examples without token ids, which the module encodes itself.

        Args:
            data: Data module of the run; ``None`` if loaders were given to the trainer.
            encoder: Tokenizer and chat template of the policy.
        """
        if isinstance(data, TakesEncoder):
            data.connect(encoder, self.max_prompt_tokens, self.max_new_tokens, self.trains_references)

    def parameter_groups(self) -> Groups:
        """Trained weights of the adapter; rows of new tokens are a group with the learning rate of ``vocabulary``.

        Raises:
            ValueError: If the adapter has new tokens, but no rows of their own that could have that rate.
        """
        rows_lr = None if self.vocabulary is None else self.vocabulary.lr
        groups = parameter_groups(self.named_parameters(), rows_lr, self.policy.half_frozen)
        if (
            rows_lr is not None
            and self.policy.encoder.new_tokens
            and not any(isinstance(group, dict) and "lr" in group for group in groups)
        ):
            raise ValueError(
                f"model.init_args.vocabulary.lr: {rows_lr}: the whole embedding is trained, and not the rows of new "
                "tokens alone; leave lr out"
            )
        return groups

    def optimise(self, terms: Sequence[LossTerm], updates: int = 1) -> dict[str, Tensor]:
        """Make optimiser steps on the weighted sum of terms, to which the anchor adds its own.

        Args:
            terms: Terms of the loss, at least one.
            updates: Number of optimiser steps on the same completions.

        Returns:
            Scalars to log: loss, the terms' own values, grad_norm (of the last step), anchor_tokens if there is an
            anchor.
        """
        more: dict[str, Tensor] = {}
        if self._anchor is not None and self._anchor.weight > 0:
            step, ranks = self.global_step // self.updates_per_batch(), self.trainer.world_size
            anchor = self._anchor.term(self.policy, step, self.global_rank, ranks, self.micro_batch_tokens)
            terms, more = [*terms, anchor], {"anchor_tokens": torch.tensor(float(anchor.completions.tokens))}
        loss = StepLoss(terms, updates, self.trainer.world_size, self.device)
        norm = torch.zeros((), device=self.device)
        for _ in range(updates):
            for batch in micro_batches(loss.completions, self.micro_batch_tokens):
                scorer = LogprobScorer(self.policy, loss.completions, batch, self.recompute)
                for chunk in batch.chunks:
                    self.accumulate(loss(scorer(chunk)))
                with self._block_sync():
                    scorer.backward()
            norm = self.update()
        return {**self.mean_over_ranks(loss.values), "grad_norm": norm, **more}

    # -- generation --------------------------------------------------------------------------------------------

    def encode(self, batch: list[Example]) -> list[list[int]]:
        """Token ids of the prompts of a batch: the data module's, or tokenised now if an example has none.

        Args:
            batch: Examples with prompts.

        Returns:
            Token ids, one list per example.

        Raises:
            ValueError: If a prompt cannot be rendered or does not fit; names the example.
        """
        return [self._encode(e) if e.prompt_ids is None else list(e.prompt_ids) for e in batch]

    def _encode(self, example: Example) -> list[int]:
        if example.is_raw_text:
            raise ValueError(f"{example.id}: raw text needs token ids; CorpusDataModule packs it with the task RawText")
        try:
            return self.policy.encoder.encode_prompt(example.policy_prompt, self.max_prompt_tokens)
        except ValueError as error:
            raise ValueError(f"{example.id}: {error}") from error

    def encode_references(self, batch: list[Example]) -> list[list[int]]:
        """Token ids of the references of a batch: the data module's, or tokenised now if an example has none.

        Args:
            batch: Examples with references.

        Returns:
            Token ids, one list per example; each ends in the end-of-turn token.
        """
        return [
            self.policy.encoder.encode_completion(e.reference) if e.completion_ids is None else list(e.completion_ids)
            for e in batch
        ]

    @staticmethod
    def check_references(batch: list[Example]) -> None:
        """Refuse to train on rows without a reference: their tokens would teach to end at once.

        Args:
            batch: Examples whose references are trained on.

        Raises:
            ValueError: If an example has no reference and is no raw text; names the example.
        """
        for example in batch:
            if not (example.reference.strip() or example.is_raw_text):
                raise ValueError(
                    f"{example.id}: there is no reference to train on; give references (source_only: false in the "
                    "task), or leave this corpus out"
                )

    def _complete(self, batch: list[Example]) -> PredictionOutputs:
        batch = [example for example in batch if not example.is_raw_text]
        if not batch:
            return {"examples": [], "predictions": []}
        predictions = generate(self.policy, self.encode(batch), max_new_tokens=self.max_new_tokens).texts
        return {"examples": batch, "predictions": predictions}

    def validation_step(self, batch: list[Example], batch_idx: int) -> PredictionOutputs:
        """Complete a batch greedily, for the callbacks that score completions."""
        return self._complete(batch)

    def test_step(self, batch: list[Example], batch_idx: int) -> PredictionOutputs:
        """Complete a batch greedily, for the callbacks that score completions."""
        return self._complete(batch)

    def on_predict_start(self) -> None:
        """Give completions to the callbacks only: Lightning cannot collect frozen examples, and need not keep them."""
        self.trainer.predict_loop.return_predictions = False

    def predict_step(self, batch: list[Example], batch_idx: int) -> PredictionOutputs:
        """Complete a batch greedily, for the callbacks that write completions."""
        return self._complete(batch)

    # -- checkpoints -------------------------------------------------------------------------------------------

    def state_dict(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        """Weights of the adapter, and none of the base."""
        return {} if self._policy is None else adapter_state(self._policy)

    def load_state_dict(
        self, state_dict: Mapping[str, Tensor], strict: bool = True, assign: bool = False
    ) -> _IncompatibleKeys:
        """Load a checkpoint's adapter weights; keys must match exactly.

        Args:
            state_dict: Weights, as ``state_dict`` returns them.
            strict: Argument of torch that is not used: the match is always strict.
            assign: Argument of torch that is not used.

        Raises:
            ValueError: If the checkpoint belongs to another model or other LoRA settings.
        """
        load_adapter_state(self.policy, state_dict)
        return _IncompatibleKeys([], [])

    def on_save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Record the stage, its reference, the vocabulary's new tokens, the chat template, and the anchor's text."""
        super().on_save_checkpoint(checkpoint)
        tokenizer = self.policy.encoder.tokenizer
        checkpoint["semalign"] |= {
            "reference": self._reference,
            "vocabulary": added_tokens_digest(tokenizer),
            "chat_template": digest(str(tokenizer.chat_template)),
            "anchor": None if self._anchor is None else self._anchor.content,
        }

    def on_load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Refuse a checkpoint of another stage, starting adapter, anchor or chat template, or of other new tokens.

        Raises:
            ValueError: Names the difference and the remedy.
        """
        super().on_load_checkpoint(checkpoint)
        if checkpoint["semalign"]["reference"] != self._reference:
            raise ValueError(
                f"--ckpt_path: the run began from another policy than model.init_args.adapter ({self.adapter}) is now, "
                "so its reference is gone; give the adapter folder that it began with"
            )
        anchor = None if self._anchor is None else self._anchor.content
        if self.trainer.state.fn == TrainerFn.FITTING and checkpoint["semalign"].get("anchor") != anchor:
            raise ValueError(
                "--ckpt_path: the run began with another model.init_args.anchor (or none), or its file has changed; "
                "give the anchor and the file that it began with"
            )
        tokens = added_tokens_digest(self.policy.encoder.tokenizer)
        if checkpoint["semalign"].get("vocabulary", tokens) != tokens:
            raise ValueError(
                "--ckpt_path: the run began with other new tokens than model.init_args.vocabulary gives now; give the "
                "settings and the corpus that it began with"
            )
        template = digest(str(self.policy.encoder.tokenizer.chat_template))
        if checkpoint["semalign"].get("chat_template", template) != template:
            raise ValueError(
                "--ckpt_path: the run began with another chat template than model.init_args.chat_template or base gives"
                " now; give the template that it began with"
            )

    def export(self, root: Path) -> Path:
        """Write the adapter to ``root/adapter``, where the next stage or PEFT itself can load it.

        Args:
            root: Folder of the run.

        Returns:
            Folder of the adapter.

        Raises:
            ValueError: If the weights are not finite.
            WriteError: If the folder cannot be written; the old one is unchanged.
        """
        check_to_write(self.state_dict(), str(root / "adapter"))
        export_adapter(self.policy, root / "adapter")
        return root / "adapter"
