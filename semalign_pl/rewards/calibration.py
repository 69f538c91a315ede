"""Calibration of the threshold tau on completions of the starting policy."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from semalign_pl.data.examples import Examples
from semalign_pl.protocols import ExampleData, SamplingModule
from semalign_pl.run.trainer import data_module_of
from semalign_pl.types import Example

CHUNK = 32
"""Number of completions that are sampled and compared at once."""


@dataclass(frozen=True)
class Calibration:
    """Settings of the calibration of tau.

    The paper defines tau as the "minimal semantic adequacy of the cold-start phase" (arXiv 2605.14366), but does not
    say how to determine this minimum. A low quantile is used here, because the minimum of n samples falls as n grows.

    Attributes:
        quantile: Quantile of the similarities of the starting policy's own completions; 0 for the minimum.
        samples: Number of completions, one for each of as many training prompts, sampled as in training.
    """

    quantile: float = 0.05
    samples: int = 256

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: If the quantile is outside [0, 1), or the number of samples is below 1.
        """
        if not 0 <= self.quantile < 1:
            raise ValueError(f"tau.quantile: {self.quantile} is no quantile to use; give a number in [0, 1), e.g. 0.05")
        if self.samples < 1:
            raise ValueError(f"tau.samples: {self.samples} completions tell nothing; give e.g. 256")


def calibrate(
    wanted: Calibration,
    trainer: Trainer,
    module: SamplingModule,
    cosines: Callable[[list[Example], list[str]], Tensor],
) -> float:
    """Sample completions from the current policy, and return the quantile of their similarities.

    Training is not affected: the sampling uses its own random generator.

    Args:
        wanted: Quantile and number of samples.
        trainer: Trainer whose data module has the training examples.
        module: Module that samples the completions.
        cosines: Function from examples, and one completion of each, to cosines ``(completions,)`` float32; NaN for an
            example without a text to compare with, which does not count.

    Returns:
        Threshold tau in [-1, 1), the same on every rank.

    Raises:
        ValueError: If there are no training examples, none has a text to compare with, or the quantile of the
            similarities is 1.
    """
    from rich.progress import track

    drawn = _draw_examples(trainer, wanted.samples, module.seed)
    similarities = []
    for start in track(range(0, len(drawn), CHUNK), description="calibrating tau", transient=True):
        batch = drawn[start : start + CHUNK]
        similarities.append(cosines(batch, module.rollouts(batch, num_generations=1, seed=start).texts).cpu())
    tau = float(torch.cat(similarities).double().nanquantile(wanted.quantile))
    if math.isnan(tau):
        raise ValueError(
            f"tau: none of the {len(drawn)} training examples that were drawn has a text to compare with; give more "
            "samples, or a number"
        )
    if tau > 1 - 1e-4:
        raise ValueError(
            f"tau.quantile: {wanted.quantile:g} of the starting policy's completions are as good as the reference, so "
            "nothing is left to reward above it; give a lower quantile, or a number for tau"
        )
    return trainer.strategy.broadcast(tau)


def _draw_examples(trainer: Trainer, count: int, seed: int) -> list[Example]:
    examples = training_examples(trainer)
    if not examples:
        raise ValueError(
            "tau: there are no training examples to calibrate on (CorpusDataModule has them); give a number"
        )
    rows = random.Random(f"tau {seed}").sample(range(len(examples)), min(count, len(examples)))
    return [examples[row] for row in sorted(rows)]


def training_examples(trainer: Trainer) -> Sequence[Example]:
    """Training examples that are rewarded, so none of replayed corpora; empty if a user's data module has none.

    Args:
        trainer: Trainer of the run.
    """
    data = data_module_of(trainer)
    examples = data.examples.get("train", ()) if isinstance(data, ExampleData) else ()
    return examples.rewarded if isinstance(examples, Examples) else examples
