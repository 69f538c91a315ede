"""Rewards of models that read two texts together."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from semalign_pl.functional.judgement import longest_prefix
from semalign_pl.rewards.base import Reward


class PairReward(Reward):
    """A probability that a frozen model gives to an anchor and a completion.

    The model runs without gradient and in the precision of its own weights, and is no part of the module, its optimiser
    or its checkpoint. Equal pairs are read once. Of a pair that is longer than the model reads, the anchor loses its
    end and the completion nothing: a policy could hide in what is not read.

    Args:
        anchor: What a completion is compared with: `reference`, or a column of the corpus such as `zh`.
        weight: Factor in the total reward.

    Attributes:
        truncated: Completions so far that were judged by less than their whole anchor, or not at all for want of room.
    """

    def __init__(self, anchor: str, weight: float) -> None:
        super().__init__(weight)
        self.anchor = anchor
        self.truncated = 0
        self.model: Any = None

    @abstractmethod
    def load(self, device: torch.device) -> Any:
        """The model, frozen and in eval mode.

        Args:
            device: Where it goes.
        """

    @abstractmethod
    def room(self) -> int:
        """Tokens that the model reads."""

    @abstractmethod
    def tokens(self, anchor: str, completion: str) -> int:
        """Tokens of a pair, those of the frame around it included.

        Args:
            anchor: Its anchor, or the beginning of it.
            completion: Its completion.
        """

    @abstractmethod
    def probabilities(self, pairs: list[tuple[str, str]]) -> Tensor:
        """Ask the model.

        Args:
            pairs: Anchors and completions that fit; none empty.

        Returns:
            ``(pairs,)`` float32 in [0, 1].
        """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the model for training; a test has no use for rewards."""
        if stage == "fit" and self.model is None:
            self.model = self.load(trainer.strategy.root_device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log how many anchors so far lost their end."""
        pl_module.log(f"train/texts_cut_by_{self.name}", float(self.truncated), batch_size=1, sync_dist=True)

    def score(self, *, completions: list[str], references: list[str], **columns: Any) -> list[float]:
        """A probability a completion.

        An empty completion scores 0. NaN, not scored, is one whose anchor is empty, or leaves the anchor no room.

        Raises:
            ValueError: If the corpus has no column of the anchor's name.
        """
        texts = {"reference": references, **columns}
        texts.pop("prompts", None)  # the source inside a template: compare with its column
        if self.anchor not in texts:
            raise ValueError(
                f"{type(self).__name__}.anchor: no column of the corpus is called {self.anchor!r}; take one of "
                f"{', '.join(texts)}"
            )
        if self.model is None:
            self.model = self.load(torch.device("cpu"))
        pairs = list(zip(texts[self.anchor], completions, strict=True))
        read = {pair: self._cut(*pair) for pair in dict.fromkeys(pairs) if all(text.strip() for text in pair)}
        self.truncated += sum(read[pair] != pair for pair in pairs if pair in read)
        asked = [pair for pair, (anchor, _) in read.items() if anchor.strip()]
        scores = {pair: 0.0 for pair in pairs if pair[0].strip() and not pair[1].strip()}
        if asked:
            # The trainer's bf16-mixed would blur siblings whose scores are close.
            with torch.no_grad(), torch.autocast(self.model.device.type, enabled=False):
                answers = self.probabilities([read[pair] for pair in asked])
            scores |= zip(asked, answers.tolist(), strict=True)
        return [scores.get(pair, float("nan")) for pair in pairs]

    def _cut(self, anchor: str, completion: str) -> tuple[str, str]:
        return longest_prefix(anchor, lambda kept: self.tokens(kept, completion), self.room()), completion
