"""Base of neural metrics of translation, each run by its own program in an environment of its own.

``unbabel-comet`` cannot be installed beside this package, and MetricX is no package. So the texts go to the program in
files, and the scores come back in a file.
"""

from __future__ import annotations

import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from semalign_pl.functional.formulas import score
from semalign_pl.languages import Language, get_language
from semalign_pl.types import MetricResult


class NeuralMetric(ABC):
    """Metric of translations that a trained model computes.

    Args:
        source_language: Code of the language of the sources, or a language.
        language: Code of the language of the translations, or a language.
        model: Hub id or file of the model.

    Raises:
        ValueError: If the model was not trained on one of the languages; nothing is started or downloaded.
    """

    name: str
    trained_on: frozenset[str]
    training: str

    def __init__(self, source_language: str | Language, language: str | Language, model: str) -> None:
        for key, given in (("source_language", source_language), ("language", language)):
            one = get_language(given)
            if one.code not in self.trained_on:
                raise ValueError(
                    f"{type(self).__name__}.{key}: {one.code} ({one.name}) is not among the languages of "
                    f"{self.training}, so its scores would mean nothing; use chrf and semantic_similarity, or ask "
                    "native readers"
                )
        self.model = model
        self.languages = f"{get_language(source_language).code}-{get_language(language).code}"

    def score_rows(
        self, sources: Sequence[str], predictions: Sequence[str], references: Sequence[str] | None = None
    ) -> list[float]:
        """Score of each translation.

        Args:
            sources: Texts that were translated.
            predictions: Translations, one per source.
            references: Reference translations, one per source; ``None`` for a model that needs none.

        Raises:
            ValueError: If the numbers of texts differ, or the program is missing, fails or gives other than one score
                per translation.
        """
        others = (sources,) if references is None else (sources, references)
        if any(len(texts) != len(predictions) for texts in others):
            counts = ", ".join(str(len(texts)) for texts in (sources, predictions, *others[1:]))
            raise ValueError(f"{type(self).__name__}: the numbers of texts differ ({counts}); give one each per row")
        # Both programs read one text per line.
        rows = [[" ".join(text.split()) for text in texts] for texts in (sources, predictions, references or ())]
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            self._write(place, rows[0], rows[1], None if references is None else rows[2])
            _run(type(self).__name__, self._command(place, references is not None), self._folder)
            try:
                scores = [float(value) for value in self._read(place)]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"{type(self).__name__}: the program wrote no scores ({type(error).__name__}: {error}); check its "
                    "version"
                ) from error
        if len(scores) != len(predictions):
            raise ValueError(
                f"{type(self).__name__}: the program gave {len(scores)} scores for {len(predictions)} texts"
            )
        return scores

    def score(
        self,
        sources: Sequence[str],
        predictions: Sequence[str],
        references: Sequence[str] | None = None,
        n_bootstrap: int = 1000,
    ) -> MetricResult:
        """Mean over all translations with its 95 % bootstrap interval; arguments as in ``score_rows``.

        Raises:
            ValueError: As ``score_rows``.
        """
        rows = self.score_rows(sources, predictions, references)
        kind = "source" if references is None else "source+reference"
        signature = f"{self.name}|model:{self.model}|languages:{self.languages}|with:{kind}"
        return score("mean", np.array(rows, dtype=np.float64).reshape(-1, 1), signature, n_bootstrap)

    @property
    def _folder(self) -> str | None:
        """Working folder of the program; ``None`` for the current one."""
        return None

    @abstractmethod
    def _write(self, place: Path, sources: list[str], predictions: list[str], references: list[str] | None) -> None:
        """Write the program's input."""

    @abstractmethod
    def _command(self, place: Path, with_references: bool) -> list[str]:
        """Program and its arguments."""

    @abstractmethod
    def _read(self, place: Path) -> list[float]:
        """Read the program's output."""


def _run(metric: str, command: list[str], folder: str | None) -> None:
    """Run a program to its end.

    Raises:
        ValueError: If it cannot be started or fails; with the last line that it wrote.
    """
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise ValueError(f"{metric}: {command[0]} cannot be started ({error.strerror}); check its path") from error
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines() or ["it wrote nothing"]
        raise ValueError(f"{metric}: {Path(command[0]).name} failed with status {done.returncode}: {lines[-1][:300]}")
