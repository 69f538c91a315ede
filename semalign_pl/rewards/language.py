"""Is it really the target language? Unicode script rules."""

from __future__ import annotations

from typing import Any

from semalign_pl.languages import get_language
from semalign_pl.rewards.base import Reward


class LanguageReward(Reward):
    """``R_lang = 1`` if the completion is wholly in the target language by Unicode rules, else 0 (arXiv 2605.14366).

    Args:
        language: Code of the target language's profile.
        weight: Factor in the total reward.
    """

    def __init__(self, language: str = "bo", weight: float = 1.0) -> None:
        super().__init__(weight)
        self.language = get_language(language)

    @property
    def signature(self) -> str:
        """Every option that changes the score."""
        return f"{super().signature}|language:{self.language.code}"

    def score(self, *, completions: list[str], **_: Any) -> list[float]:
        """1 or 0 a completion."""
        return [float(self.language.is_consistent(text)) for text in completions]
