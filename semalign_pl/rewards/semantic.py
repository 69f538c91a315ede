"""Semantic reward: cosine to reference or source, by a frozen sentence encoder."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from semalign_pl.encoder.corpus_embeddings import CorpusEmbeddings
from semalign_pl.encoder.sentence_encoder import SentenceEncoder
from semalign_pl.functional.similarity import rescale
from semalign_pl.protocols import SamplingModule
from semalign_pl.rewards.base import Reward, columns_of
from semalign_pl.rewards.calibration import Calibration, calibrate, training_examples
from semalign_pl.rewards.encoder_trial import REMEDY, draw_sample, try_encoder
from semalign_pl.types import Example

log = logging.getLogger(__name__)


class SemanticReward(Reward):
    """``R_sim = 0 if s <= tau else (s - tau) / (1 - tau)``, with s the cosine to the reference (arXiv 2605.14366).

    With the source as anchor, no reference is needed (SG-SRL, arXiv 2605.29502). The encoder is frozen, and runs
    without gradient (in bfloat16 on a GPU). It is not part of the module, its optimiser or its checkpoint. The
    embeddings of the anchors are computed when a batch first needs them, and cached.

    When training starts, the encoder is tried on a sample of the corpus. rewards/encoder_trial.py defines what is
    measured, and when an encoder is warned about or refused.

    Args:
        encoder: SentenceTransformer: hub id or folder.
        tau: Minimum similarity that counts as adequate, in [-1, 1); or settings to calibrate it when training starts,
            such as {quantile: 0.05, samples: 256}. A resumed run keeps its calibrated tau.
        weight: Factor in the total reward.
        anchor: Text that a completion is compared with: `reference`, a column of the corpus such as `zh`, or a mix of
            them such as {reference: 0.5, zh: 0.5}, whose cosines are averaged by weight.
        cache: Folder of cached embeddings, shared by runs; null keeps none on disk.

    Attributes:
        tau: Threshold in use; ``None`` until it is calibrated.
    """

    def __init__(
        self,
        encoder: str,
        tau: float | Calibration = 0.0,
        weight: float = 1.5,
        anchor: str | dict[str, float] = "reference",
        cache: str | None = ".semalign_cache/embeddings",
    ) -> None:
        super().__init__(weight)
        self.calibration = tau if isinstance(tau, Calibration) else None
        self.tau = None if isinstance(tau, Calibration) else tau
        if self.tau is not None:
            rescale(torch.zeros(()), self.tau)  # raises for a tau outside [-1, 1), before anything is loaded
        self.anchors = {anchor: 1.0} if isinstance(anchor, str) else dict(anchor)
        if not self.anchors or not all(share > 0 for share in self.anchors.values()):
            raise ValueError(f"SemanticReward.anchor: {anchor} is no mix; give each column a weight above 0")
        self.encoder_name = encoder
        self.encoder: SentenceEncoder | None = None
        self.cache = None if cache is None else Path(cache)
        self._corpus_embeddings: CorpusEmbeddings | None = None

    @property
    def signature(self) -> str:
        """Every option that changes the score; a loaded encoder with the digest of its weights."""
        mix = "+".join(name if share == 1 else f"{share:g}*{name}" for name, share in self.anchors.items())
        tau = "uncalibrated" if self.tau is None else f"{self.tau:g}"
        if self.calibration is not None:
            tau += f"(quantile {self.calibration.quantile:g} of {self.calibration.samples})"
        encoder = self.encoder_name if self.encoder is None else f"{self.encoder_name}@{self.encoder.digest}"
        return f"{super().signature}|encoder:{encoder}|tau:{tau}|anchor:{mix}"

    # -- a run -------------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the encoder for training; a test uses no rewards."""
        if stage == "fit" and self.encoder is None:
            device = trainer.strategy.root_device
            self.encoder = SentenceEncoder(self.encoder_name, device, half=device.type == "cuda")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the encoder on the corpus, and calibrate tau unless a checkpoint has set it.

        Raises:
            ValueError: If the encoder cannot tell the corpus' texts apart, or the corpus has no text to compare with.
        """
        examples = training_examples(trainer)
        if examples and self.encoder is not None:
            self._corpus_embeddings = self._embeddings(self.encoder, examples)
            self._try(self.encoder, draw_sample(examples))
        if self.calibration is not None and self.tau is None and isinstance(pl_module, SamplingModule):
            self.tau = calibrate(self.calibration, trainer, pl_module, self.cosines)
            log.warning("SemanticReward: tau is %.4f: %s", self.tau, self.signature)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Embed the anchors of the batch, before its completions are sampled."""
        batch = [example for example in batch if not example.replay] if isinstance(batch, list) else []
        if self._corpus_embeddings is not None and batch:
            for texts in self._anchors([example.reference for example in batch], columns_of(batch)):
                self._corpus_embeddings([text for text in texts if text in self._corpus_embeddings])

    def _embeddings(self, encoder: SentenceEncoder, examples: Sequence[Example]) -> CorpusEmbeddings:
        """Cache of the anchors' embeddings; each is computed when it is first needed."""
        references = [example.reference for example in examples]
        if "reference" in self.anchors and not any(references):
            raise ValueError(
                "SemanticReward.anchor: the corpus has no references to compare with (source_only); give the source's "
                f"column: {' or '.join(examples[0].columns)}"
            )
        anchors = self._anchors(references, columns_of(examples))
        return CorpusEmbeddings(encoder, chain.from_iterable(anchors), self.cache)

    def _try(self, encoder: SentenceEncoder, sample: Sequence[Example]) -> None:
        """Measure the encoder on a sample.

        The sample's texts are embedded separately from the corpus, in the same cache.
        """
        references = [example.reference for example in sample]
        sources = [example.source or example.prompt for example in sample]
        columns = dict(zip(self.anchors, self._anchors(references, columns_of(sample)), strict=True))
        columns.setdefault("reference", references)  # completions are in the same script
        texts = chain(sources, *columns.values())
        embedded = CorpusEmbeddings(encoder, texts, self.cache)
        trial = try_encoder(
            lambda texts: embedded(texts).cpu(), encoder.count_unknown_tokens, columns, sources, references
        )
        if trial is None:
            return
        self.trial = trial.figures()
        log.info("SemanticReward.encoder: %s: %s", self.encoder_name, trial)
        verdict = trial.verdict(across=set(self.anchors) != {"reference"})
        if verdict == "refuse":
            raise ValueError(
                f"SemanticReward.encoder: {self.encoder_name} cannot tell the texts of this corpus apart, so it would "
                f"reward random text: {trial}; {REMEDY}"
            )
        if verdict == "warn":
            log.warning(
                "SemanticReward.encoder: %s may not understand this corpus: %s; compare completions with their "
                "rewards, or %s", self.encoder_name, trial, REMEDY,
            )  # fmt: skip

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Log tau, and the number of texts so far that exceeded the encoder's limit: their ends earn nothing."""
        if self.encoder is not None:
            pl_module.log("train/texts_cut_by_encoder", float(self.encoder.truncated), batch_size=1, sync_dist=True)
        if self.calibration is not None and self.tau is not None:
            pl_module.log("train/tau", self.tau, batch_size=1, sync_dist=True)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, object]) -> None:
        """Save a calibrated tau.

        It is not saved in ``state_dict``: Lightning would then refuse a second SemanticReward before GRPO can explain
        why.
        """
        if self.calibration is not None:
            checkpoint["semalign_tau"] = self.tau

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the tau that the run began with."""
        if self.calibration is not None:
            self.tau = checkpoint.get("semalign_tau")

    # -- scores ------------------------------------------------------------------------------------------------

    def score(self, *, completions: list[str], references: list[str], **columns: list[str]) -> Tensor:
        """Rescaled cosines, ``(completions,)`` float32 in [0, 1]; empty text scores 0, and a row without an anchor NaN.

        Raises:
            ValueError: If tau is not calibrated yet, or the corpus has no column with an anchor's name.
        """
        if self.tau is None:
            raise ValueError("SemanticReward.tau: not calibrated yet; training does that when it starts")
        columns.pop("prompts", None)  # the source inside a template; compare with the source's column instead
        cosines = self._cosines(completions, self._anchors(references, columns))
        written = torch.tensor([bool(text.strip()) for text in completions], device=cosines.device)
        return rescale(cosines, self.tau) * written

    def cosines(self, examples: Sequence[Example], completions: list[str]) -> Tensor:
        """Cosines of completions to their anchors, before any threshold; arguments as in ``Reward.__call__``.

        The calibration uses them. The anchors of its sample are embedded directly, not by the blocks of the corpus
        cache.

        Returns:
            ``(completions,)`` float32 in [-1, 1]; NaN where an anchor is blank.
        """
        anchors = self._anchors([e.reference for e in examples], columns_of(examples))
        return self._cosines(completions, anchors, cached=False)

    def rehearse(
        self, examples: Sequence[Example], completions: Sequence[str], completion_ids: Sequence[list[int]] | None = None
    ) -> Tensor:
        """Score completions outside of training: neither the encoder's count of cut texts nor the cache changes."""
        if self.encoder is None:
            return super().rehearse(examples, completions, completion_ids)
        rehearsal, truncated = copy.copy(self), self.encoder.truncated
        rehearsal._corpus_embeddings = None
        try:
            return rehearsal(examples, completions, completion_ids)
        finally:
            self.encoder.truncated = truncated

    def _anchors(self, references: list[str], columns: Mapping[str, list[str]]) -> list[list[str]]:
        """Texts of each anchor."""
        texts = {"reference": references, **columns}
        missing = next((name for name in self.anchors if name not in texts), None)
        if missing is not None:
            raise ValueError(
                f"SemanticReward.anchor: no column of the corpus is called {missing!r}; take one of {', '.join(texts)} "
                "(in a mix, each corpus needs it)"
            )
        return [texts[name] for name in self.anchors]

    def _cosines(self, completions: list[str], anchors: list[list[str]], cached: bool = True) -> Tensor:
        if self.encoder is None:
            self.encoder = SentenceEncoder(self.encoder_name)
        corpus, encode = self._corpus_embeddings if cached else None, self.encoder.encode
        vectors = encode(completions)
        embedded = [
            corpus(texts) if corpus and all(text in corpus for text in texts) else encode(texts) for texts in anchors
        ]
        shares = torch.tensor(list(self.anchors.values()), device=vectors.device)
        cosines = (shares / shares.sum()) @ (vectors * torch.stack(embedded)).sum(-1).clamp(-1.0, 1.0)
        blank = [not all(text.strip() for text in row) for row in zip(*anchors, strict=True)]
        return cosines.masked_fill(torch.tensor(blank, device=cosines.device), float("nan"))
