"""Rewards: callbacks that score completions."""

from semalign_pl.rewards.base import Reward
from semalign_pl.rewards.cross_encoder import CrossEncoderReward
from semalign_pl.rewards.feature_matching import FeatureMatchingReward
from semalign_pl.rewards.function import FunctionReward
from semalign_pl.rewards.judge import JudgeReward
from semalign_pl.rewards.language import LanguageReward
from semalign_pl.rewards.length import LengthReward
from semalign_pl.rewards.overlap import OverlapReward
from semalign_pl.rewards.repetition import RepetitionReward
from semalign_pl.rewards.reranker import RerankerReward
from semalign_pl.rewards.semantic import SemanticReward

__all__ = [
    "CrossEncoderReward",
    "FeatureMatchingReward",
    "FunctionReward",
    "JudgeReward",
    "LanguageReward",
    "LengthReward",
    "OverlapReward",
    "RepetitionReward",
    "RerankerReward",
    "Reward",
    "SemanticReward",
]
