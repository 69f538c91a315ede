"""Is the meaning right? Cosine to reference or source, by a frozen sentence encoder."""

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

    With the source as its anchor it needs no reference (SG-SRL, arXiv 2605.29502). The encoder is frozen, runs without
    gradient, and is no part of the module, its optimiser or its checkpoint.

    Args:
        encoder: SentenceTransformer: hub id or folder.
        tau: The least similarity that counts as adequate, in [-1, 1).
        weight: Factor in the total reward.
        anchor: What a completion is compared with: `reference`, a column of the corpus such as `zh`, or a mix of them
            such as {reference: 0.5, zh: 0.5}, whose cosines are averaged by weight.
    """

    def __init__(
        self, encoder: str, tau: float = 0.0, weight: float = 1.5, anchor: str | dict[str, float] = "reference"
    ) -> None:
        super().__init__(weight)
        rescale(torch.zeros(()), tau)  # refuses a tau outside [-1, 1) before anything is loaded
        self.tau = tau
        self.anchors = {anchor: 1.0} if isinstance(anchor, str) else dict(anchor)
        if not self.anchors or not all(share > 0 for share in self.anchors.values()):
            raise ValueError(f"SemanticReward.anchor: {anchor} is no mix; give each column a weight above 0")
        self.encoder_name = encoder
        self.encoder: SentenceEncoder | None = None

    @property
    def signature(self) -> str:
        """Every option that changes the score."""
        mix = "+".join(name if share == 1 else f"{share:g}*{name}" for name, share in self.anchors.items())
        return f"{super().signature}|encoder:{self.encoder_name}|tau:{self.tau:g}|anchor:{mix}"

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

    def score(self, *, completions: list[str], references: list[str], **columns: Any) -> Tensor:
        """Rescaled cosines ``(completions,)`` float32 in [0, 1]; empty text scores 0.

        Raises:
            ValueError: If the corpus has no column of an anchor's name.
        """
        texts = {"reference": references, **columns}
        texts.pop("prompts", None)  # the source inside a template: compare with its column
        missing = next((name for name in self.anchors if name not in texts), None)
        if missing is not None:
            raise ValueError(
                f"SemanticReward.anchor: no column of the corpus is called {missing!r}; take one of {', '.join(texts)}"
            )
        if self.encoder is None:
            self.encoder = SentenceEncoder(self.encoder_name)
        compared = [text for name in self.anchors for text in texts[name]]
        vectors = self.encoder.encode([*completions, *compared])
        vectors = vectors.view(1 + len(self.anchors), len(completions), self.encoder.dimensions)
        shares = torch.tensor(list(self.anchors.values()), device=vectors.device)
        cosines = (vectors[0] * vectors[1:]).sum(-1).clamp(-1.0, 1.0)
        written = torch.tensor([bool(text.strip()) for text in completions], device=vectors.device)
        return rescale((shares / shares.sum()) @ cosines, self.tau) * written
