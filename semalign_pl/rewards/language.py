"""Is it really the target language? Unicode script rules."""

from __future__ import annotations

from typing import Any

from semalign_pl.languages import get_language
from semalign_pl.languages.profile import LanguageProfile
from semalign_pl.rewards.base import Reward


class LanguageReward(Reward):
    """1 if the completion is in the target language by Unicode rules, else 0.

    The rule is the paper's ``R_lang`` (arXiv 2605.14366): *wholly* in the target language. With ``source`` it is
    SG-SRL's gate (arXiv 2605.29502): predominantly in the target's scripts, no letter of the source's, and little
    Latin; the shares are our choice, as the paper gives none.

    Args:
        language: Code of the target language's profile.
        weight: Factor in the total reward.
        gate: Multiply the sum of the other rewards instead of adding to it.
        source: Code of the language translated from, for the laxer rule.
        min_share: Under the laxer rule, the least share of letters in the target's scripts.
        max_latin: Under the laxer rule, the largest share of Latin letters.
    """

    best = 1.0

    def __init__(
        self,
        language: str = "bo",
        weight: float = 1.0,
        gate: bool = False,
        source: str | None = None,
        min_share: float = 0.7,
        max_latin: float = 0.2,
    ) -> None:
        super().__init__(weight)
        for name, share in (("min_share", min_share), ("max_latin", max_latin)):
            if not 0 <= share <= 1:
                raise ValueError(f"LanguageReward.{name}: {share} is no share; give a number from 0 to 1")
        self.language, self.gate = get_language(language), gate
        self.source = None if source is None else get_language(source)
        self.min_share, self.max_latin = min_share, max_latin

    @property
    def signature(self) -> str:
        """Every option that changes the score."""
        rule = (
            "" if self.source is None else f"|source:{self.source.code}|min:{self.min_share:g}|latin:{self.max_latin:g}"
        )
        return f"{super().signature}|language:{self.language.code}{rule}"

    def score(self, *, completions: list[str], **_: Any) -> list[float]:
        """1 or 0 a completion."""
        return [float(self._passes(text)) for text in completions]

    def _passes(self, text: str) -> bool:
        if self.source is None:
            return self.language.is_consistent(text)
        return (
            self.language.share(text) >= max(self.min_share, 1e-9)  # text without letters is no text
            and self.source.share(text) == 0
            and _LATIN.share(text) <= self.max_latin
        )


_LATIN = LanguageProfile("latn", "Latin script", "Latin", ("Latin",), "character", r"\X")
