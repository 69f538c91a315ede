"""Base class of rewards whose model reads two texts together."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from semalign_pl.functional.bootstrap import confidence_interval
from semalign_pl.functional.judgement import longest_prefix
from semalign_pl.functional.retrieval import auc
from semalign_pl.rewards.base import Reward, columns_of
from semalign_pl.rewards.calibration import training_examples
from semalign_pl.rewards.encoder_trial import MIN_TEXTS, distinct_pairs, draw_sample
from semalign_pl.types import Example

log = logging.getLogger(__name__)

TRIAL_EXAMPLES = 32
"""Number of examples on which the model is tried when training starts; each is scored with its own reference and with
that of another."""


Model = TypeVar("Model")


class PairReward(Reward, Generic[Model]):
    """Probability that a frozen model gives to an anchor and a completion.

    The model runs without gradient, in the precision of its own weights. It is not part of the module, its optimiser or
    its checkpoint. Equal pairs are scored once. If a pair is longer than the model's limit, the end of the anchor is
    cut, and never the completion: a policy could exploit text that is not read.

    Args:
        anchor: Text that a completion is compared with: `reference`, or a column of the corpus such as `zh`.
        weight: Factor in the total reward.

    Attributes:
        truncated: Number of completions so far whose anchor was cut, or that were not scored because they left no room
            for an anchor.
    """

    def __init__(self, anchor: str, weight: float) -> None:
        super().__init__(weight)
        self.anchor = anchor
        self.truncated = 0
        self.model: Model | None = None

    @abstractmethod
    def load(self, device: torch.device) -> Model:
        """Load the model, frozen and in eval mode.

        Args:
            device: Device of the model.
        """

    @property
    def loaded(self) -> Model:
        """Loaded model; ``setup`` or the first call of ``score`` loads it."""
        assert self.model is not None, "score loads the model before it asks for tokens or probabilities"
        return self.model

    @abstractmethod
    def room(self) -> int:
        """Maximum number of tokens that the model reads."""

    @abstractmethod
    def tokens(self, anchor: str, completion: str) -> int:
        """Number of tokens of a pair, with the tokens that the model's format adds around it.

        Args:
            anchor: Anchor, or a prefix of it.
            completion: Completion.
        """

    @abstractmethod
    def probabilities(self, pairs: list[tuple[str, str]]) -> Tensor:
        """Probability of each pair, by the model.

        Args:
            pairs: Anchors and completions that fit into ``room()`` tokens; none is empty.

        Returns:
            ``(pairs,)`` float32 in [0, 1].
        """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the model for training; a test uses no rewards."""
        if stage == "fit" and self.model is None:
            self.model = self.load(trainer.strategy.root_device)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Try the model on a sample: it should score an anchor's own reference above another one's."""
        examples = training_examples(trainer)
        if examples and self.model is not None:
            self._try(draw_sample(examples, TRIAL_EXAMPLES))

    def _try(self, sample: Sequence[Example]) -> None:
        references = [example.reference for example in sample]
        pairs = distinct_pairs({**columns_of(sample), "reference": references}.get(self.anchor, references), references)
        if len(pairs) < 2:  # a corpus without references, for example
            return
        anchors, own = (list(texts) for texts in zip(*pairs, strict=True))
        truncated = self.truncated
        true, wrong = (
            torch.tensor(self.score(completions=texts, references=texts, **{self.anchor: anchors}))
            for texts in (own, [*own[1:], own[0]])
        )
        self.truncated = truncated  # the trial's references are not completions
        scored = ~(true.isnan() | wrong.isnan())
        if not scored.any():
            return
        statistic, count = auc(true[scored], wrong[scored].unsqueeze(1)), int(scored.sum())
        area, (low, high) = statistic(torch.ones(count)), confidence_interval(statistic, count, 1000, 12345)
        self.trial = {"pairs": count, "auc": area, "auc_low": low, "auc_high": high}
        figures = (
            f"of {count} pairs of {self.anchor} and reference against shuffled ones, AUC {area:.2f} "
            f"(95 % interval {low:.2f} to {high:.2f}; chance 0.50)"
        )
        log.info("%s: %s", type(self).__name__, figures)
        if count >= MIN_TEXTS and low <= 0.5:
            log.warning(
                "%s does not tell references from wrong ones on this corpus: %s; look at its rewards in "
                "completions.jsonl (SampleTable), or take a model that reads both languages: %s",
                type(self).__name__, figures, self.signature,
            )  # fmt: skip

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Log the number of completions so far whose anchor was cut."""
        pl_module.log(f"train/texts_cut_by_{self.name}", float(self.truncated), batch_size=1, sync_dist=True)

    def score(self, *, completions: list[str], references: list[str], **columns: list[str]) -> list[float]:
        """One probability per completion.

        An empty completion scores 0. A completion is not scored (NaN) if its anchor is empty, or if it leaves no room
        for the anchor.

        Raises:
            ValueError: If the corpus has no column with the anchor's name.
        """
        texts = {"reference": references, **columns}
        texts.pop("prompts", None)  # the source inside a template; compare with the source's column instead
        if self.anchor not in texts:
            raise ValueError(
                f"{type(self).__name__}.anchor: no column of the corpus is called {self.anchor!r}; take one of "
                f"{', '.join(texts)} (in a mix, each corpus needs it)"
            )
        if self.model is None:
            self.model = self.load(torch.device("cpu"))
        pairs = list(zip(texts[self.anchor], completions, strict=True))
        read = {pair: self._cut(*pair) for pair in dict.fromkeys(pairs) if all(text.strip() for text in pair)}
        self.truncated += sum(read[pair] != pair for pair in pairs if pair in read)
        asked = [pair for pair, (anchor, _) in read.items() if anchor.strip()]
        scores = {pair: 0.0 for pair in pairs if pair[0].strip() and not pair[1].strip()}
        if asked:
            answers = self.probabilities([read[pair] for pair in asked])
            scores |= zip(asked, answers.tolist(), strict=True)
        return [scores.get(pair, float("nan")) for pair in pairs]

    def _cut(self, anchor: str, completion: str) -> tuple[str, str]:
        return longest_prefix(anchor, lambda kept: self.tokens(kept, completion), self.room()), completion
