"""What shows an exploited reward, measured on a step's completions: length, script, repetition, likeness, diversity."""

from __future__ import annotations

import torch
from torch import Tensor

from semalign_pl.functional.penalties import repeated_ngrams
from semalign_pl.languages import get_language
from semalign_pl.metrics import ChrF
from semalign_pl.types import Example, Rollouts

METRICS = ("chrf", "length_ratio", "script", "repetition", "distinct")
SEEN = {("chrf", "chrf"), ("length", "length_ratio"), ("language", "script"), ("repetition", "repetition")}
"""A reward, by its name, that is one of the metrics itself, and that metric: comparing them would say nothing."""


class Unseen:
    """METRICS of completions, each as one number a completion (``distinct``: a group).

    ``chrf`` is sentence chrF++ to the reference; ``length_ratio`` characters over the reference's; ``script`` the share
    of words that are in the language's script; ``repetition`` the share of repeated 4-grams; ``distinct`` the share
    of distinct completions in their group.

    Attributes:
        language: The profile that knows script and units.
    """

    def __init__(self, language: str) -> None:
        """Take a language code."""
        self.language = get_language(language)
        self._chrf = ChrF(self.language)

    def __call__(
        self, examples: list[Example], rollouts: Rollouts, typical_length: float
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """Measure.

        Args:
            examples: One a group.
            rollouts: Their completions.
            typical_length: Characters that stand in for the length of a reference where there is none.

        Returns:
            By name, what is judged and what is shown, float64. Of what is judged, larger is better: repetition is
            negative, and of the two lengths it is the shorter over the longer, both ways being away from the
            reference. ``chrf`` leaves out completions without a reference.
        """
        texts, k = rollouts.texts, rollouts.num_generations
        references = [examples[i // k].reference for i in range(len(texts))]
        given = [i for i, reference in enumerate(references) if reference.strip()]
        wanted = [float(len(reference)) if reference.strip() else typical_length for reference in references]
        lengths, wanted = _tensor([len(text) for text in texts]), _tensor(wanted)
        match = torch.minimum(lengths, wanted) / torch.maximum(lengths, wanted)
        chrf = _tensor(self._chrf.per_row([texts[i] for i in given], [references[i] for i in given]))
        script = _tensor([self.language.share(text) for text in texts])
        repetition = _tensor([repeated_ngrams(self.language.segment(text)) for text in texts])
        distinct = _tensor([len(set(texts[i : i + k])) / k for i in range(0, len(texts), k)])
        found = ((chrf, chrf), (match, lengths / wanted), (script, script), (-repetition, repetition))
        return dict(zip(METRICS, (*found, (distinct, distinct)), strict=True))


def _tensor(values: list[float] | list[int]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
