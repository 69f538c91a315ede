"""Base class of rewards that score a row by the rules of a language."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from semalign_pl.data import CorpusDataModule
from semalign_pl.data.corpora import unnamed_target
from semalign_pl.languages import Language
from semalign_pl.languages.by_task import TaskLanguages, check_language
from semalign_pl.rewards.base import Reward
from semalign_pl.rewards.calibration import training_examples
from semalign_pl.run.trainer import data_module_of
from semalign_pl.types import Example

log = logging.getLogger(__name__)

SAMPLE = 1000
"""Number of training rows whose languages are looked up when training starts."""
R = TypeVar("R", bound="TaskLanguageReward")


class TaskLanguageReward(Reward):
    """Reward by the rules of one language. In a mix whose tasks name languages, each row is scored by its task's.

    Implement ``score`` for texts in ``self.language``, and ``in_language`` if more than the language depends on it.

    Args:
        language: Language of the rows whose task names none.
        weight: Factor in the total reward.
    """

    def __init__(self, language: Language, weight: float) -> None:
        super().__init__(weight)
        self.language = language
        self.task_languages = TaskLanguages(language)

    def in_language(self: R, language: Language) -> R:
        """Reward with the rules of another language; all other settings are those of this one.

        Args:
            language: Language of the task.
        """
        other = copy.copy(self)
        other.language = language
        return other

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say in one line which corpora are scored by another language than that of the setting."""
        tell_task_languages(type(self).__name__, self.task_languages, trainer)

    def start_scoring(
        self, examples: Sequence[Example], completions: Sequence[str], completion_ids: Sequence[list[int]] | None = None
    ) -> Callable[[], Tensor]:
        """Start scoring each row by the language of its task; arguments as in ``Reward.__call__``."""
        rows: dict[str, list[int]] = {}
        languages = [self.task_languages.of(example) for example in examples]
        for row, language in enumerate(languages):
            rows.setdefault(language.code, []).append(row)
        if rows.keys() <= {self.language.code}:
            return super().start_scoring(examples, completions, completion_ids)
        started = [
            Reward.start_scoring(
                self.in_language(languages[own[0]]),
                [examples[row] for row in own],
                [completions[row] for row in own],
                None if completion_ids is None else [completion_ids[row] for row in own],
            )
            for own in rows.values()
        ]

        def finish() -> Tensor:
            scores = torch.empty(len(examples))
            for own, finish_rows in zip(rows.values(), started, strict=True):
                scores[own] = finish_rows()
            return scores

        return finish


def tell_task_languages(name: str, languages: TaskLanguages, trainer: Trainer) -> None:
    """Say in one line which training corpora are scored by another language than that of a setting, and check it.

    Args:
        name: Name of the class with the setting ``language``.
        languages: Languages by which it scores rows.
        trainer: Trainer of the run.

    Raises:
        ValueError: If the language of a task has no rules; names the corpus. If the only task answers in another script
            than the setting's.
    """
    data = data_module_of(trainer)
    if isinstance(data, CorpusDataModule):
        check_language(name, languages.default, unnamed_target(data, "train"))
    others = languages.others(draw_evenly(training_examples(trainer)))
    if others and trainer.is_global_zero:
        listed = ", ".join(f"{corpus} in {language.code}" for corpus, language in others.items())
        log.warning(
            "%s.language: %s is for rows whose task names no language; scored by their task's are %s",
            name, languages.default.code, listed,
        )  # fmt: skip


def draw_evenly(examples: Sequence[Example]) -> list[Example]:
    """At most 1,000 rows, evenly spaced.

    Args:
        examples: Training examples.
    """
    return [examples[at] for at in range(0, len(examples), -(-len(examples) // SAMPLE))] if examples else []
