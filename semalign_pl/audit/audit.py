"""Audit of the rewards of a recipe: scores, comparisons and verdict as one dictionary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from semalign_pl.audit.compare import AUC, Rewards, Z, against_damage, against_spoilers, spread
from semalign_pl.audit.groups import LEVELS, Group
from semalign_pl.audit.scores import score_groups
from semalign_pl.audit.spoilers import SPOILERS
from semalign_pl.audit.verdict import Verdict, judge_total, worst
from semalign_pl.functional.composition import Aggregation
from semalign_pl.rewards.base import Reward
from semalign_pl.types import Json

TOTAL = "total"
DAMAGE = "more_damage"
COLUMNS = [DAMAGE, *SPOILERS]
"""Comparisons of the table: drafts with more damage, and each spoiler."""


@dataclass(frozen=True)
class Audit:
    """Result of an audit.

    Attributes:
        figures: Figures of each reward and of the total, by name.
        verdict: Verdict on the total.
        pairs: Number of prompts.
    """

    figures: dict[str, Figures]
    verdict: Verdict
    pairs: int

    def as_json(self) -> dict[str, Json]:
        """Dictionary for ``reward_check.json``; ``None`` where a comparison does not apply."""
        return {
            "refused": self.verdict.refused,
            "verdict": str(self.verdict),
            "reasons": list(self.verdict.reasons),
            "warnings": list(self.verdict.warnings),
            "pairs": self.pairs,
            "interval_z": Z,
            "rewards": {name: figures.as_json() for name, figures in self.figures.items()},
        }


@dataclass(frozen=True)
class Figures:
    """Figures of one reward.

    Attributes:
        damage: AUC of drafts with less damage against drafts with more.
        spoilers: AUC of drafts against spoiled ones, by spoiler and share of damaged words.
        quality: Spread within a prompt by quality, see ``Spread``.
        noise: Spread within a prompt of drafts of equal quality.
    """

    damage: AUC
    spoilers: dict[tuple[str, float], AUC]
    quality: float
    noise: float

    @property
    def lowest(self) -> list[AUC]:
        """One AUC per column of the table: of a spoiler, the lowest over the shares of damaged words."""
        return [self.damage, *(worst(self.spoilers, name)[1] for name in SPOILERS)]

    def as_json(self) -> dict[str, Json]:
        """Dictionary for ``reward_check.json``."""
        spoilers: dict[str, Json] = {
            name: {f"{level:g}": _json(self.spoilers[name, level]) for level in LEVELS} for name in SPOILERS
        }
        return {
            DAMAGE: _json(self.damage),
            "spoilers": spoilers,
            "spread": _number(self.quality),
            "noise": _number(self.noise),
        }


def audit(rewards: Sequence[Reward], groups: Sequence[Group], aggregation: Aggregation) -> Audit:
    """Score all texts, and compare them within each prompt.

    Args:
        rewards: Rewards of the recipe.
        groups: Texts of each prompt.
        aggregation: Rule that combines the rewards.
    """
    scores = score_groups(rewards, groups, aggregation)
    figures = {reward.name: _figures(values) for reward, values in zip(rewards, scores.per_reward, strict=True)}
    return Audit({**figures, TOTAL: _figures(scores.total())}, judge_total(scores), len(groups))


def _figures(rewards: Rewards) -> Figures:
    differences = spread(rewards)
    return Figures(against_damage(rewards), against_spoilers(rewards), differences.quality, differences.noise)


def _json(found: AUC) -> dict[str, Json]:
    return {name: _number(value) for name, value in asdict(found).items()}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
