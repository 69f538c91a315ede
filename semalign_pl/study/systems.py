"""Systems that a study compares, and what it trains for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semalign_pl.study.frontier_settings import FrontierSettings
from semalign_pl.study.judge_settings import JudgeSettings

BASE = "base"
ENCODER, BACK_TRANSLATION = "encoder", "back_translation"
SHARED = (ENCODER, BACK_TRANSLATION)
"""Keys whose models are trained once, before all systems, and serve all seeds."""
PLACEHOLDERS = {ENCODER: "{encoder}", BACK_TRANSLATION: "{back_translated}"}
"""Placeholder in values of ``set`` and ``over`` by key: folder of the encoder; file of the translations."""


@dataclass(frozen=True)
class System:
    """One trained system of a study, or one variant of a system whose settings are swept.

    Attributes:
        name: Key of the system in ``study.yaml``, and name of its folder; of a variant ``SYSTEM.SETTING-VALUE``.
        config: Recipe for training and testing.
        start: System or variant whose adapter the training starts from, or ``base``.
        label: Title in tables and pictures; ``None`` to derive it from the name.
        sweep: Key of the system in ``study.yaml`` if this is a variant of it; otherwise ``None``.
        flags: Settings of the system and the variant that differ from the recipe's, as flags.
    """

    name: str
    config: Path
    start: str
    label: str | None = None
    sweep: str | None = None
    flags: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Key of the system in ``study.yaml``."""
        return self.sweep or self.name


@dataclass(frozen=True)
class BackTranslation:
    """Translator out of the language that a study teaches, and texts in this language (arXiv 1511.06709).

    Attributes:
        translator: Translator to train from the base model.
        texts: Corpus of the texts to translate, as ``semalign translate --file`` reads it.
    """

    translator: System
    texts: str


@dataclass(frozen=True)
class Study:
    """Content of a folder of configs.

    Attributes:
        systems: Trained systems in training order, with all variants of a swept system in its place.
        frontier: Points to test of each system; ``None`` to test the finished adapters only.
        encoder: Sentence encoder that is trained once, before all systems; ``None`` to train none.
        back_translation: Translator that is trained and used once, before all systems; ``None`` for none.
        judge: Pairs of systems whose answers are judged; ``None`` to judge none.
        published: File with a paper's tables, to compare the results with; ``None`` to compare with none.
    """

    systems: list[System]
    frontier: FrontierSettings | None = None
    encoder: System | None = None
    back_translation: BackTranslation | None = None
    judge: JudgeSettings | None = None
    published: Path | None = None


def group(systems: Sequence[System]) -> dict[str, list[System]]:
    """Variants by key in ``study.yaml``; a system that is not swept is its only variant.

    Args:
        systems: Systems of a study.
    """
    return {key: [one for one in systems if one.key == key] for key in dict.fromkeys(one.key for one in systems)}
