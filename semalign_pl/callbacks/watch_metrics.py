"""Metrics that reveal an exploited reward: length, script, repetition, similarity and diversity of completions."""

from __future__ import annotations

import torch
from torch import Tensor

from semalign_pl.functional.penalties import repeated_ngrams
from semalign_pl.languages import get_language
from semalign_pl.languages.by_task import TaskLanguages
from semalign_pl.metrics import ChrF
from semalign_pl.types import Example, Rollouts

METRICS = ("chrf", "length_ratio", "script", "repetition", "distinct")
SAME_MEASURE = {("chrf", "chrf"), ("length", "length_ratio"), ("language", "script"), ("repetition", "repetition")}
"""Pairs of a reward's name and the metric that this reward is; a comparison of the two would say nothing."""


class WatchMetrics:
    """Values of ``METRICS``, one number per completion (``distinct``: per group).

    ``chrf`` is sentence chrF++ against the reference. ``length_ratio`` is the number of characters divided by the
    reference's. ``script`` is the share of words in the language's script. ``repetition`` is the share of repeated
    4-grams. ``distinct`` is the share of distinct completions in their group.

    Attributes:
        language: Language of the completions, which defines script and units of text; in a mix, of those whose task
            names none.
        task_languages: Languages by which completions are measured.
    """

    def __init__(self, language: str) -> None:
        """Look up the language.

        Args:
            language: Code of the language of the completions.
        """
        self.language = get_language(language)
        self.task_languages = TaskLanguages(self.language)
        self._chrf = ChrF(self.language)

    def __call__(
        self, examples: list[Example], rollouts: Rollouts, typical_length: float
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Measure the completions of a step.

        Args:
            examples: Example of each group.
            rollouts: Completions of the examples.
            typical_length: Number of characters that replaces the length of a missing reference.

        Returns:
            Compared values and logged values by name, float64. Larger compared values are better: repetition is
            negated, and the length ratio is the shorter length divided by the longer, because a deviation in either
            direction is worse. Completions without a reference are left out of ``chrf``.
        """
        texts, k = rollouts.texts, rollouts.num_generations
        references = [examples[i // k].reference for i in range(len(texts))]
        given = [i for i, reference in enumerate(references) if reference.strip()]
        wanted = [float(len(reference)) if reference.strip() else typical_length for reference in references]
        lengths, wanted = _tensor([len(text) for text in texts]), _tensor(wanted)
        match = torch.minimum(lengths, wanted) / torch.maximum(lengths, wanted)
        languages = [self.task_languages.of(examples[i // k]) for i in range(len(texts))]
        chrf = torch.full((len(texts),), torch.nan, dtype=torch.float64)
        for language in {language.code: language for language in languages}.values():
            own = [i for i in given if languages[i] is language]
            metric = self._chrf if language is self.language else self._chrf.in_language(language)
            chrf[own] = _tensor(metric.per_row([texts[i] for i in own], [references[i] for i in own]))
        chrf = chrf[given]
        script = _tensor([language.share(text) for language, text in zip(languages, texts, strict=True)])
        repetition = _tensor(
            [repeated_ngrams(language.segment(text)) for language, text in zip(languages, texts, strict=True)]
        )
        distinct = _tensor([len(set(texts[i : i + k])) / k for i in range(0, len(texts), k)])
        pairs = ((chrf, chrf), (match, lengths / wanted), (script, script), (-repetition, repetition))
        return dict(zip(METRICS, (*pairs, (distinct, distinct)), strict=True))


def _tensor(values: list[float] | list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
