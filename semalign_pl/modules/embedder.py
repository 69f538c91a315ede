"""Contrastive training of a sentence encoder on the pairs of a language pair."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from semalign_pl.modules.encoding import EncoderModule
from semalign_pl.modules.negatives import HardNegatives, distinct
from semalign_pl.modules.step_timer import StepTimer
from semalign_pl.types import Example


class EmbedderModule(EncoderModule):
    """Move each source and its reference together, and both away from the other texts of the batch.

    The loss is InfoNCE in both directions, averaged: sentence-transformers' MultipleNegativesRankingLoss with the
    directions query to document and document to query. First the gradient of the embeddings is computed on the whole
    batch of all GPUs, then it is propagated to the weights micro-batch by micro-batch (gradient caching, arXiv
    2101.06983). So memory depends on ``micro_batch`` and not on the batch size, at the cost of one more forward. A pair
    that repeats a text of an earlier pair of the batch is left out of that step, because the two would count as wrong
    answers to each other.

    Args:
        base: Hub id or folder of a SentenceTransformer, or of any other transformers encoder, which gets mean pooling
            and embeddings of length 1.
        optimizer: Optimiser of all weights; by default AdamW with a learning rate of 2e-5.
        temperature: Divisor of the cosines in the loss.
        hard_negatives: Number of hard negatives per source: the nearest wrong references of the whole corpus, mined
            again at the start of each epoch; 0 for none.
        hard_negative_margin: Margin of hard negatives, as a share of the true pair's cosine. A text within the margin
            is not used, because it may be right too.
        **kwargs: Arguments of EncoderModule.
    """

    stage = "embedder"

    def __init__(
        self,
        base: str,
        optimizer: OptimizerCallable = lambda p: torch.optim.AdamW(p, lr=2e-5),
        temperature: float = 0.05,
        hard_negatives: int = 0,
        hard_negative_margin: float = 0.05,
        **kwargs: Any,
    ) -> None:
        super().__init__(base, optimizer=optimizer, **kwargs)
        if temperature <= 0:
            raise ValueError(f"model.init_args.temperature: {temperature} is not above 0; use e.g. 0.05")
        if hard_negatives < 0:
            raise ValueError(f"model.init_args.hard_negatives: {hard_negatives} is below 0; give 0 for none")
        if not 0 <= hard_negative_margin < 1:
            raise ValueError(f"model.init_args.hard_negative_margin: {hard_negative_margin} is not in [0, 1); use 0.05")
        self.temperature = temperature
        self.hard_negatives, self.hard_negative_margin = hard_negatives, hard_negative_margin
        self._mined: HardNegatives | None = None
        self._mined_before: list[list[int]] | None = None  # of the checkpoint that the run resumes from

    def on_fit_start(self) -> None:
        """Refuse batches of one pair; prepare the mining of hard negatives if the run has any.

        Raises:
            ValueError: If the batch size is 1, or hard negatives are set with a data module that has no corpus.
        """
        data: Any = getattr(self.trainer, "datamodule", None)
        if getattr(data, "batch_size", None) == 1:
            raise ValueError("data.init_args.batch_size: a pair alone has no wrong answer beside it; use e.g. 256")
        if self.hard_negatives:
            if not hasattr(data, "examples"):
                raise ValueError("model.init_args.hard_negatives: only CorpusDataModule has them; use it, or give 0")
            self._mined = HardNegatives(data.examples["train"], self.hard_negatives, self.hard_negative_margin)
            self._mined.found = self._mined_before or self._mined.found

    def on_train_epoch_start(self) -> None:
        """Mine hard negatives.

        Lightning does not call this hook if a run resumes within an epoch; the checkpoint has that epoch's negatives.
        """
        if self._mined is not None:
            self._mined.mine(self.encoder, self.micro_batch)

    def training_step(self, batch: list[Example], batch_idx: int) -> dict[str, Any]:
        """Make one optimiser step on one batch.

        Args:
            batch: Pairs of this rank.
            batch_idx: Index of the batch in the epoch.

        Returns:
            For the callbacks: the pairs, as ``examples``.

        Raises:
            ValueError: If a text of a pair is empty.
        """
        for example in batch:
            if not example.source.strip() or not example.reference.strip():
                raise ValueError(f"{example.id}: a pair needs two texts, and one is empty; leave the row out")
        timer, given = StepTimer(self.device), self._of_all_ranks(batch)
        pairs = distinct(given)
        negatives = [] if self._mined is None else self._mined.of(pairs)
        texts = [*(e.source for e in pairs), *(e.reference for e in pairs), *negatives]
        with self.step_randomness() as seed, timer.phase("update"):
            loss, at_limit = self._contrast(texts, len(pairs), seed)
            norm = self.update()
        self.log_train(
            {
                "loss": loss,
                "grad_norm": norm,
                "pairs_left_out": float(len(given) - len(pairs)),
                "hard_negatives": len(negatives) / len(pairs),
                "texts_at_max_seq_length": self.trainer.world_size * at_limit / len(texts),
                **timer.metrics(),
            },
            len(pairs),
        )
        return {"examples": batch}

    def _of_all_ranks(self, batch: list[Example]) -> list[Example]:
        """Pairs of the step on all ranks, in the order of a run with one process."""
        if self.trainer.world_size == 1:
            return batch
        shards: list[list[Example]] = [[] for _ in range(self.trainer.world_size)]
        torch.distributed.all_gather_object(shards, batch)
        return [example for row in zip_longest(*shards) for example in row if example is not None]

    def _contrast(self, texts: list[str], pairs: int, seed: int) -> tuple[Tensor, int]:
        """Accumulate this rank's share of the gradient in the weights.

        Args:
            texts: ``pairs`` sources, then ``pairs`` references, then hard negatives.
            pairs: Number of pairs.
            seed: Seed of dropout.

        Returns:
            Mean loss of the pairs, and the number of this rank's texts that reach the encoder's maximum length.
        """
        # Micro-batches of one language and similar lengths have the least padding.
        order = sorted(range(len(texts)), key=lambda i: (i >= pairs, len(texts[i])))
        parts = [order[start : start + self.micro_batch] for start in range(0, len(order), self.micro_batch)]
        parts = parts[self.global_rank :: self.trainer.world_size]
        features = [self._features([texts[i] for i in part]) for part in parts]
        # Embeddings without gradient first: the loss needs those of the whole batch, whose activations would not fit.
        vectors = torch.zeros(len(texts), self.encoder.get_embedding_dimension() or 0, device=self.device)
        with torch.no_grad():
            for i, (part, inputs) in enumerate(zip(parts, features, strict=True)):
                vectors[part] = self._embed(inputs, seed + i)
        vectors = self.trainer.strategy.reduce(vectors, reduce_op="sum").requires_grad_()
        loss = self._loss(vectors, pairs)
        (gradient,) = torch.autograd.grad(loss, vectors)
        # Forward again with gradient. The same seed gives the same dropout, so these are the embeddings of the loss.
        for i, (part, inputs) in enumerate(zip(parts, features, strict=True)):
            self.accumulate((self._embed(inputs, seed + i) * gradient[part]).sum())
        return loss.detach(), sum(self._at_limit(inputs) for inputs in features)

    def _loss(self, vectors: Tensor, pairs: int) -> Tensor:
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

        contrast = MultipleNegativesRankingLoss(
            self.encoder,
            scale=1 / self.temperature,
            directions=("query_to_doc", "doc_to_query"),
            partition_mode="per_direction",
        )
        columns = [part for part in vectors.split([pairs, pairs, len(vectors) - 2 * pairs]) if len(part)]
        with torch.autocast(self.device.type, enabled=False):  # bfloat16 cannot tell a cosine of 0.99 from 0.992
            return contrast.compute_loss_from_embeddings(columns, torch.empty(0))

    def _features(self, texts: list[str]) -> dict[str, Any]:
        features = self.encoder.preprocess(texts)
        return {name: value.to(self.device) if isinstance(value, Tensor) else value for name, value in features.items()}

    def _embed(self, features: Mapping[str, Any], seed: int) -> Tensor:
        """Embeddings ``(texts, dimensions)`` float32; the same seed gives the same dropout."""
        torch.manual_seed(seed)
        return self.encoder(dict(features))["sentence_embedding"].float()  # modules may change the dict that they get

    def _at_limit(self, features: Mapping[str, Any]) -> int:
        mask, limit = features.get("attention_mask"), self.encoder.max_seq_length
        return 0 if mask is None or limit is None else int((mask.sum(1) >= limit).sum())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record the stage and the hard negatives of the epoch."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["semalign"]["negatives"] = None if self._mined is None else self._mined.found

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another stage; keep its hard negatives for the rest of the epoch.

        Raises:
            ValueError: Names the difference and the remedy.
        """
        super().on_load_checkpoint(checkpoint)
        self._mined_before = checkpoint["semalign"]["negatives"]
