"""Comparisons of rewards within groups: AUC with its interval, and in-group spread against noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch
from jaxtyping import Float
from torch import Tensor

from semalign_pl.audit.groups import DRAFTS, LEVELS, Slot, slots
from semalign_pl.audit.spoilers import SPOILERS
from semalign_pl.functional.advantages import EQUAL_REWARDS
from semalign_pl.functional.proportion import wilson_interval

Rewards = Float[Tensor, "groups slots"]
_PLACE = {slot: index for index, slot in enumerate(slots())}
TESTS = len(SPOILERS) * len(LEVELS)
Z = NormalDist().inv_cdf(1 - 0.05 / (2 * TESTS))
"""Normal quantile of intervals that hold together for all spoilers and shares of damage with 95 % (Bonferroni)."""


@dataclass(frozen=True)
class AUC:
    """Share of prompts in which the better text earns more; ties count half.

    It is the area under the ROC curve within a prompt, because advantages compare completions of one prompt only. At
    0.5 the reward has no preference; below, it pays for the worse text.

    Attributes:
        pairs: Number of prompts compared.
        value: Area; NaN without prompts.
        low: Lower bound of its interval: Wilson's, with the quantile ``Z``.
        high: Upper bound of its interval.
    """

    pairs: int
    value: float
    low: float
    high: float

    @property
    def pays(self) -> bool:
        """True if the reward pays for the worse text: the whole interval is below 0.5."""
        return self.high < 0.5

    @property
    def sees(self) -> bool:
        """True if the reward prefers the better text: the whole interval is above 0.5."""
        return self.low > 0.5


def auc(better: Float[Tensor, " groups *drafts"], worse: Float[Tensor, " groups *drafts"]) -> AUC:
    """AUC of two texts per prompt.

    Differences up to ``EQUAL_REWARDS`` are ties, as in GRPO.

    Args:
        better: Rewards of the better texts, NaN where there is none.
        worse: Rewards of the worse texts.

    >>> auc(torch.tensor([1.0, 0.5, 0.2]), torch.tensor([0.0, 0.5, float("nan")])).value
    0.75
    """
    both = ~(better.isnan() | worse.isnan())
    difference = (better - worse).double()
    wins = (difference > EQUAL_REWARDS).double() + 0.5 * (difference.abs() <= EQUAL_REWARDS).double()
    if wins.ndim > 1:  # several drafts of one prompt are no independent trials
        wins = (wins * both).sum(1) / both.sum(1).clamp(min=1)
        both = both.any(1)
    pairs = int(both.sum())
    if not pairs:
        return AUC(0, math.nan, 0.0, 1.0)
    won = float(wins[both].sum())
    return AUC(pairs, won / pairs, *wilson_interval(won, pairs, Z))


def against_spoilers(rewards: Rewards) -> dict[Slot, AUC]:
    """AUC of each draft against what each spoiler makes of it, by spoiler and share of damaged words.

    Args:
        rewards: Rewards of the texts of all groups.
    """
    return {
        (name, level): auc(rewards[:, _PLACE[DRAFTS[0], level]], rewards[:, _PLACE[name, level]])
        for name in SPOILERS
        for level in LEVELS
    }


def against_damage(rewards: Rewards) -> AUC:
    """AUC of the drafts with fewer damaged words against those with more.

    Args:
        rewards: Rewards of the texts of all groups.
    """
    light, heavy = (rewards[:, [_PLACE[name, level] for name in DRAFTS]] for level in LEVELS[1:])
    return auc(light, heavy)


@dataclass(frozen=True)
class Spread:
    """Differences of rewards within prompts.

    Attributes:
        quality: Standard deviation of the mean rewards of reference and drafts of each share of damage: differences by
            quality. Mean over prompts.
        noise: Standard deviation of the rewards of drafts of equal damage: differences by luck. Root mean square over
            prompts.
    """

    quality: float
    noise: float


def spread(rewards: Rewards) -> Spread:
    """In-group spread by quality, and noise.

    Args:
        rewards: Rewards of the texts of all groups.
    """
    levels = [rewards[:, [_PLACE[n, level] for n in (DRAFTS if level else DRAFTS[:1])]].double() for level in LEVELS]
    means = torch.stack([level.nanmean(1) for level in levels], 1)
    quality = means.std(1)
    luck = torch.cat([level.var(1) for level in levels if level.shape[1] > 1])
    return Spread(float(quality[~quality.isnan()].mean()), float(luck[~luck.isnan()].mean().sqrt()))
