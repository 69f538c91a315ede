"""Is the meaning right? Cosine to the reference, by a frozen sentence encoder."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from semalign_pl.encoder import SentenceEncoder
from semalign_pl.functional.similarity import rescale
from semalign_pl.rewards.base import Reward


class SemanticReward(Reward):
    """``R_sim = 0 if s <= tau else (s - tau) / (1 - tau)``, s the cosine to the reference (arXiv 2605.14366).

    The encoder is frozen, runs without gradient, and is no part of the module, its optimiser or its checkpoint.

    Args:
        encoder: SentenceTransformer: hub id or folder.
        tau: The least similarity that counts as adequate, in [-1, 1).
        weight: Factor in the total reward.
    """

    def __init__(self, encoder: str, tau: float = 0.0, weight: float = 1.5) -> None:
        super().__init__(weight)
        rescale(torch.zeros(()), tau)  # refuses a tau outside [-1, 1) before anything is loaded
        self.tau = tau
        self.encoder_name = encoder
        self.encoder: SentenceEncoder | None = None

    @property
    def signature(self) -> str:
        """Every option that changes the score."""
        return f"{super().signature}|encoder:{self.encoder_name}|tau:{self.tau:g}|anchor:reference"

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the encoder for training; a test has no use for rewards."""
        if stage == "fit" and self.encoder is None:
            self.encoder = SentenceEncoder(self.encoder_name, device=trainer.strategy.root_device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log how many texts so far were longer than the encoder reads: their ends earn nothing."""
        if self.encoder is not None:
            pl_module.log("train/texts_cut_by_encoder", float(self.encoder.truncated), batch_size=1, sync_dist=True)

    def score(self, *, completions: list[str], references: list[str], **_: Any) -> Tensor:
        """Rescaled cosines ``(completions,)`` float32 in [0, 1]; empty text scores 0."""
        if self.encoder is None:
            self.encoder = SentenceEncoder(self.encoder_name)
        return rescale(self.encoder.similarity(completions, references), self.tau)
