"""A sentence encoder for the language pair, trained contrastively on its pairs."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import Any

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from semalign_pl.modules.encoding import EncoderModule
from semalign_pl.modules.negatives import HardNegatives, distinct
from semalign_pl.modules.profile import Profile
from semalign_pl.types import Example


class EmbedderModule(EncoderModule):
    """Pull each source and its reference together, and push both from the other texts of the batch.

    The loss is InfoNCE both ways, averaged: sentence-transformers' MultipleNegativesRankingLoss with the directions
    query to document and document to query. Its gradient at the vectors is computed on the whole batch, that of all
    GPUs, and then carried into the weights micro-batch by micro-batch (gradient caching, arXiv 2101.06983): memory is
    that of ``micro_batch`` texts whatever the batch, for one more forward. A pair with a text that stands in the batch
    already is left out of that step, since the two would count as wrong answers to each other.

    Args:
        base: A SentenceTransformer, or any other encoder of transformers, which gets mean pooling and vectors of length
            1: hub id or folder.
        optimizer: Optimiser of all weights; by default AdamW at 2e-5.
        temperature: Cosines are divided by it.
        hard_negatives: For each source add so many of the nearest wrong references of the whole corpus, mined anew at
            each epoch's start; 0 for none.
        hard_negative_margin: A text is no hard negative if its cosine is within this share of the true pair's: it may
            be right as well.
        **kwargs: See EncoderModule.
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
        self._mined_before: list[list[int]] | None = None  # in the checkpoint that the run goes on from

    def on_fit_start(self) -> None:
        """Refuse a batch that has nothing to tell apart; get to know the corpus if hard negatives are wanted of it."""
        data: Any = getattr(self.trainer, "datamodule", None)
        if getattr(data, "batch_size", None) == 1:
            raise ValueError("data.init_args.batch_size: a pair alone has no wrong answer beside it; use e.g. 256")
        if self.hard_negatives:
            if not hasattr(data, "examples"):
                raise ValueError("model.init_args.hard_negatives: only CorpusDataModule has them; use it, or give 0")
            self._mined = HardNegatives(data.examples["train"], self.hard_negatives, self.hard_negative_margin)
            self._mined.found = self._mined_before or self._mined.found

    def on_train_epoch_start(self) -> None:
        """Mine hard negatives; Lightning does not come here where a run goes on within an epoch, but brings its own."""
        if self._mined is not None:
            self._mined.mine(self.encoder, self.micro_batch)

    def training_step(self, batch: list[Example], batch_idx: int) -> dict[str, Any]:
        """One optimiser step on one batch."""
        for example in batch:
            if not example.source.strip() or not example.reference.strip():
                raise ValueError(f"{example.id}: a pair needs two texts, and one is empty; leave the row out")
        profile, given = Profile(self.device), self._of_all_ranks(batch)
        pairs = distinct(given)
        negatives = [] if self._mined is None else self._mined.of(pairs)
        texts = [*(e.source for e in pairs), *(e.reference for e in pairs), *negatives]
        with self.step_randomness() as seed, profile.phase("update"):
            loss, at_limit = self._contrast(texts, len(pairs), seed)
            norm = self.update()
        self.log_train(
            {
                "loss": loss,
                "grad_norm": norm,
                "pairs_left_out": float(len(given) - len(pairs)),
                "hard_negatives": len(negatives) / len(pairs),
                "texts_at_max_seq_length": self.trainer.world_size * at_limit / len(texts),
                **profile.metrics(),
            },
            len(pairs),
        )
        return {"examples": batch}

    def _of_all_ranks(self, batch: list[Example]) -> list[Example]:
        """The step's pairs, in the order that one process would have them in."""
        if self.trainer.world_size == 1:
            return batch
        shards: list[list[Example]] = [[] for _ in range(self.trainer.world_size)]
        torch.distributed.all_gather_object(shards, batch)
        return [example for row in zip_longest(*shards) for example in row if example is not None]

    def _contrast(self, texts: list[str], pairs: int, seed: int) -> tuple[Tensor, int]:
        """Leave this rank's share of the gradient in the weights.

        Args:
            texts: Sources and references (each ``pairs``), and then hard negatives.
            pairs: How many.
            seed: Of dropout.

        Returns:
            The mean loss of the pairs, and how many of this rank's texts are as long as the encoder reads.
        """
        # Texts of one language and like length go together, for the least padding.
        order = sorted(range(len(texts)), key=lambda i: (i >= pairs, len(texts[i])))
        parts = [order[start : start + self.micro_batch] for start in range(0, len(order), self.micro_batch)]
        parts = parts[self.global_rank :: self.trainer.world_size]
        features = [self._features([texts[i] for i in part]) for part in parts]
        vectors = torch.zeros(len(texts), self.encoder.get_embedding_dimension() or 0, device=self.device)
        with torch.no_grad():
            for i, (part, inputs) in enumerate(zip(parts, features, strict=True)):
                vectors[part] = self._embed(inputs, seed + i)
        vectors = self.trainer.strategy.reduce(vectors, reduce_op="sum").requires_grad_()
        loss = self._loss(vectors, pairs)
        (gradient,) = torch.autograd.grad(loss, vectors)
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
        with torch.autocast(self.device.type, enabled=False):  # in bfloat16 cosines of 0.99 and 0.992 are one
            return contrast.compute_loss_from_embeddings(columns, torch.empty(0))

    def _features(self, texts: list[str]) -> dict[str, Any]:
        features = self.encoder.preprocess(texts)
        return {name: value.to(self.device) if isinstance(value, Tensor) else value for name, value in features.items()}

    def _embed(self, features: Mapping[str, Any], seed: int) -> Tensor:
        """``(texts, dimensions)`` float32; the same dropout for the same seed. Modules may write into what they get."""
        torch.manual_seed(seed)
        return self.encoder(dict(features))["sentence_embedding"].float()

    def _at_limit(self, features: Mapping[str, Any]) -> int:
        mask, limit = features.get("attention_mask"), self.encoder.max_seq_length
        return 0 if mask is None or limit is None else int((mask.sum(1) >= limit).sum())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record which stage this is, and the epoch's hard negatives."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["semalign"]["negatives"] = None if self._mined is None else self._mined.found

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another stage; keep its hard negatives for the rest of the epoch."""
        super().on_load_checkpoint(checkpoint)
        self._mined_before = checkpoint["semalign"]["negatives"]
