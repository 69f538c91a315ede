"""Is the meaning right? Cosine to reference or source, by a frozen sentence encoder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from semalign_pl.embeddings import CorpusEmbeddings
from semalign_pl.encoder import SentenceEncoder
from semalign_pl.functional.similarity import rescale
from semalign_pl.rewards.base import Reward, columns_of
from semalign_pl.rewards.calibration import Calibration, calibrate, training_examples
from semalign_pl.types import Example

log = logging.getLogger(__name__)


class SemanticReward(Reward):
    """``R_sim = 0 if s <= tau else (s - tau) / (1 - tau)``, s the cosine to the reference (arXiv 2605.14366).

    With the source as its anchor it needs no reference (SG-SRL, arXiv 2605.29502). The encoder is frozen, runs without
    gradient (in bfloat16 on a GPU), and is no part of the module, its optimiser or its checkpoint. What completions are
    compared with is embedded once a corpus.

    Args:
        encoder: SentenceTransformer: hub id or folder.
        tau: The least similarity that counts as adequate, in [-1, 1); or how to calibrate it when training starts, such
            as {quantile: 0.05, samples: 256}. A calibrated one is kept on resuming.
        weight: Factor in the total reward.
        anchor: What a completion is compared with: `reference`, a column of the corpus such as `zh`, or a mix of them
            such as {reference: 0.5, zh: 0.5}, whose cosines are averaged by weight.
        cache: Folder of embedded corpora, shared by runs; null keeps none on disk.

    Attributes:
        tau: The threshold in force; ``None`` until it is calibrated.
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
            rescale(torch.zeros(()), self.tau)  # refuses a tau outside [-1, 1) before anything is loaded
        self.anchors = {anchor: 1.0} if isinstance(anchor, str) else dict(anchor)
        if not self.anchors or not all(share > 0 for share in self.anchors.values()):
            raise ValueError(f"SemanticReward.anchor: {anchor} is no mix; give each column a weight above 0")
        self.encoder_name = encoder
        self.encoder: SentenceEncoder | None = None
        self.cache = None if cache is None else Path(cache)
        self._known: CorpusEmbeddings | None = None

    @property
    def signature(self) -> str:
        """Every option that changes the score."""
        mix = "+".join(name if share == 1 else f"{share:g}*{name}" for name, share in self.anchors.items())
        tau = "uncalibrated" if self.tau is None else f"{self.tau:g}"
        if self.calibration is not None:
            tau += f"(quantile {self.calibration.quantile:g} of {self.calibration.samples})"
        return f"{super().signature}|encoder:{self.encoder_name}|tau:{tau}|anchor:{mix}"

    # -- a run -------------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the encoder for training; a test has no use for rewards."""
        if stage == "fit" and self.encoder is None:
            device = trainer.strategy.root_device
            self.encoder = SentenceEncoder(self.encoder_name, device, half=device.type == "cuda")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Embed the corpus' anchors, and calibrate tau unless a checkpoint brought it."""
        examples = training_examples(trainer)
        if examples and self.encoder is not None:
            if trainer.world_size > 1 and self.cache is not None:  # the first rank computes, the others read
                if trainer.is_global_zero:
                    self._embed(self.encoder, examples)
                trainer.strategy.barrier()
            self._embed(self.encoder, examples)
        if self.calibration is not None and self.tau is None and hasattr(pl_module, "rollouts"):
            self.tau = calibrate(self.calibration, trainer, pl_module, self.cosines)
            log.warning("SemanticReward: tau is %.4f: %s", self.tau, self.signature)

    def _embed(self, encoder: SentenceEncoder, examples: Sequence[Example]) -> None:
        references = [example.reference for example in examples]
        if "reference" in self.anchors and not any(references):
            raise ValueError(
                "SemanticReward.anchor: the corpus has no references to compare with (source_only); give the source's "
                f"column: {' or '.join(examples[0].columns)}"
            )
        anchors = self._anchors(references, columns_of(examples))
        self._known = CorpusEmbeddings(encoder, chain.from_iterable(anchors), self.cache)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log tau, and how many texts so far were longer than the encoder reads: their ends earn nothing."""
        if self.encoder is not None:
            pl_module.log("train/texts_cut_by_encoder", float(self.encoder.truncated), batch_size=1, sync_dist=True)
        if self.calibration is not None and self.tau is not None:
            pl_module.log("train/tau", self.tau, batch_size=1, sync_dist=True)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep a calibrated tau; as state, Lightning would refuse a second SemanticReward before GRPO can say why."""
        if self.calibration is not None:
            checkpoint["semalign_tau"] = self.tau

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Go on with the tau that the run began with."""
        if self.calibration is not None:
            self.tau = checkpoint.get("semalign_tau")

    # -- scores ------------------------------------------------------------------------------------------------

    def score(self, *, completions: list[str], references: list[str], **columns: Any) -> Tensor:
        """Rescaled cosines ``(completions,)`` float32 in [0, 1]; empty text scores 0.

        Raises:
            ValueError: If the corpus has no column of an anchor's name.
        """
        if self.tau is None:
            raise ValueError("SemanticReward.tau: not calibrated yet; training does that when it starts")
        columns.pop("prompts", None)  # the source inside a template: compare with its column
        cosines = self._cosines(completions, self._anchors(references, columns))
        written = torch.tensor([bool(text.strip()) for text in completions], device=cosines.device)
        return rescale(cosines, self.tau) * written

    def cosines(self, examples: Sequence[Example], completions: list[str]) -> Tensor:
        """``(completions,)`` float32 in [-1, 1], before any threshold; arguments as in ``Reward.__call__``."""
        return self._cosines(completions, self._anchors([e.reference for e in examples], columns_of(examples)))

    def _anchors(self, references: list[str], columns: Mapping[str, list[str]]) -> list[list[str]]:
        """Each anchor's texts."""
        texts = {"reference": references, **columns}
        missing = next((name for name in self.anchors if name not in texts), None)
        if missing is not None:
            raise ValueError(
                f"SemanticReward.anchor: no column of the corpus is called {missing!r}; take one of {', '.join(texts)}"
            )
        return [texts[name] for name in self.anchors]

    def _cosines(self, completions: list[str], anchors: list[list[str]]) -> Tensor:
        if self.encoder is None:
            self.encoder = SentenceEncoder(self.encoder_name)
        vectors = self.encoder.encode(completions)
        compared = torch.stack([self._embedded(self.encoder, texts) for texts in anchors])
        shares = torch.tensor(list(self.anchors.values()), device=vectors.device)
        return (shares / shares.sum()) @ (vectors * compared).sum(-1).clamp(-1.0, 1.0)

    def _embedded(self, encoder: SentenceEncoder, texts: list[str]) -> Tensor:
        known = self._known
        if known is not None and all(text in known for text in texts):
            return known(texts)
        return encoder.encode(texts)
