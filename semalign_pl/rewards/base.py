"""The base of every reward."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from semalign_pl.types import Example


class Reward(Callback, ABC):
    """A callback that scores completions; GRPO adds up all rewards of the run by weight.

    Subclass it, give ``score``, and list the class under ``trainer.callbacks``.

    Args:
        weight: Factor in the total reward.

    Attributes:
        gate: The reward multiplies the sum of the others instead of adding to it.
    """

    gate = False

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight

    @property
    def name(self) -> str:
        """Name in logs: the class's, without ``Reward``, in snake case."""
        short = type(self).__name__.removesuffix("Reward") or "Reward"
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", short).lower()

    @property
    def signature(self) -> str:
        """Every option that changes the score, as ``key:value`` joined by ``|``."""
        return f"reward:{self.name}|{'gate' if self.gate else f'weight:{self.weight:g}'}"

    @abstractmethod
    def score(
        self, *, prompts: list[str], completions: list[str], references: list[str], **columns: list[str]
    ) -> Sequence[float | None] | Tensor:
        """Score completions (TRL's convention, all by keyword).

        Args:
            prompts: The user's message of each completion.
            completions: What the policy wrote.
            references: What it should have written.
            **columns: The corpus's other columns, by name.

        Returns:
            One number a completion; ``None`` or NaN means "not scored", which is not 0.
        """

    def __call__(self, examples: list[Example], completions: list[str]) -> Tensor:
        """Score completions of examples.

        Args:
            examples: One a completion.
            completions: Texts.

        Returns:
            ``(completions,)`` float32 on CPU, NaN where not scored.

        Raises:
            ValueError: If ``score`` returns another number of scores.
        """
        columns: dict[str, Any] = columns_of(examples)
        with torch.no_grad():
            scores = self.score(
                prompts=[e.prompt for e in examples],
                completions=completions,
                references=[e.reference for e in examples],
                **columns,
            )
        if not isinstance(scores, Tensor):
            scores = torch.tensor([float("nan") if s is None else float(s) for s in scores])
        scores = scores.detach().float().cpu()
        if scores.shape != (len(completions),):
            raise ValueError(
                f"{type(self).__name__}.score returned {tuple(scores.shape)} scores for {len(completions)} "
                "completions; return one number (or None) a completion"
            )
        return scores


def columns_of(examples: Sequence[Example]) -> dict[str, list[str]]:
    """The columns that all examples have, by name.

    Args:
        examples: Of one corpus.
    """
    names = set.intersection(*(set(e.columns) for e in examples)) if examples else set()
    return {name: [e.columns[name] for e in examples] for name in sorted(names)}
