"""Completions of the starting policy, scored by the rewards of the run, without any effect on training."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.seed import isolate_rng
from torch import Tensor

from semalign_pl.languages.language import Language
from semalign_pl.protocols import SamplingModule
from semalign_pl.rewards.base import Reward
from semalign_pl.rewards.calibration import training_examples
from semalign_pl.rewards.language import LanguageReward
from semalign_pl.types import Example

COUNT = 8
"""Number of prompts, each with one completion: enough to see that a language or a reward is missing, in seconds."""
NO_COLD_START = 0.5
"""Share of units in the wanted language below which a policy probably had no cold start."""
SHOWN = 60
"""Number of characters of the completion on the page."""


@dataclass(frozen=True)
class Samples:
    """Completions of the starting policy and their rewards.

    Attributes:
        rewards: Rewards of the run.
        scores: Scores, float32, NaN where a reward gave none.
        texts: Completions.
        examples: Example of each completion.
        ended: Number of completions that ended in an EOS token.
    """

    rewards: Sequence[Reward]
    scores: Float[Tensor, "rewards completions"]
    texts: list[str]
    examples: Sequence[Example]
    ended: int

    def lines(self, describe: Callable[[Reward], str]) -> Iterator[str]:
        """One line per reward: its name and weight, the mean score, and the range of scores.

        Args:
            describe: Function from a reward to its weight in words.
        """
        yield f"on {len(self.texts)} completions of the starting policy, one per prompt:"
        for reward, scores in zip(self.rewards, self.scores, strict=True):
            scored = scores[~scores.isnan()]
            what = "scored none"
            if len(scored):
                what = f"mean {scored.mean():.2f}, from {scored.min():.2f} to {scored.max():.2f}"
                what += f"; {len(scored)} of {len(scores)} scored" if len(scored) < len(scores) else ""
            yield f"{reward.name}: {describe(reward)}; {what}"

    def findings(self, adapter: str | None) -> Iterator[tuple[str, str]]:
        """Rows of the page about the completions: their language, whether they end, and one of them.

        Args:
            adapter: Folder of the adapter that training starts from; ``None`` for the bare base.
        """
        reward = next((reward for reward in self.rewards if isinstance(reward, LanguageReward)), None)
        if reward is not None:
            languages = [reward.task_languages.of(example) for example in self.examples]
            for language in {language.code: language for language in languages}.values():
                own = [text for text, other in zip(self.texts, languages, strict=True) if other is language]
                yield "samples", describe_language(language, own, adapter)
        if not self.ended:
            why = "is it too small, or has the policy not learnt to stop?"
            yield "samples", f"none of {len(self.texts)} ends before model.init_args.max_new_tokens: {why}"
        text = " ".join(self.texts[0].split())
        yield "samples", f"the first: {text[:SHOWN]}{'…' if len(text) > SHOWN else ''}"


def describe_language(language: Language, texts: Sequence[str], adapter: str | None) -> str:
    """Share of completions' units that are in the wanted language, with advice if it is low.

    Args:
        language: Wanted language.
        texts: Completions.
        adapter: Folder of the adapter that training starts from; ``None`` for the bare base.
    """
    share = sum(map(language.share, texts)) / max(1, len(texts))
    text = f"{share:.0%} {language.name}".replace("%", " %")
    if share >= NO_COLD_START:
        return text
    remedy = "train SFT first, and give its folder as model.init_args.adapter"
    if adapter is not None:
        remedy = f"{adapter} does not write it yet; train that SFT longer"
    return f"{text}: no cold start? GRPO can only strengthen what is sampled; {remedy}"


def draw_samples(trainer: Trainer, module: LightningModule, rewards: Sequence[Reward]) -> Samples | None:
    """Sample one completion for each of eight training prompts, and score them.

    The rows are the same in every run. No random state changes, no counter of the rewards, and no logged value.

    Args:
        trainer: Trainer of the run.
        module: Module under training.
        rewards: Rewards of the run.

    Returns:
        Completions and scores; ``None`` if the module does not sample, or there are no training examples to draw from.
    """
    examples = training_examples(trainer)
    if not isinstance(module, SamplingModule) or not examples:
        return None
    rows = random.Random("before training").sample(range(len(examples)), min(COUNT, len(examples)))
    drawn = [examples[row] for row in sorted(rows)]
    with isolate_rng(), torch.no_grad():
        rollouts = module.rollouts(drawn, num_generations=1, seed=module.seed)
        lengths, ids = rollouts.completion_mask.sum(1).tolist(), rollouts.completion_ids.tolist()
        tokens = [row[:length] for row, length in zip(ids, lengths, strict=True)]
        scores = torch.stack([reward.rehearse(drawn, rollouts.texts, tokens) for reward in rewards])
    return Samples(rewards, scores, rollouts.texts, drawn, int(rollouts.finished.sum()))
