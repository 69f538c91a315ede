"""Rewards: callbacks that score completions."""

from semalign_pl.rewards.base import Reward
from semalign_pl.rewards.language import LanguageReward
from semalign_pl.rewards.semantic import SemanticReward

__all__ = ["LanguageReward", "Reward", "SemanticReward"]
