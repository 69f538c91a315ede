"""COMET and xCOMET (arXiv 2310.10482), by their own command ``comet-score``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from semalign_pl.languages import Language
from semalign_pl.metrics.neural import NeuralMetric
from semalign_pl.metrics.neural_languages import XLM_R

CONFLICT = (
    "unbabel-comet 2.2.7 needs transformers<5, huggingface-hub<1, numpy<2, torchmetrics<0.11 and jsonargparse==3.13.1, "
    "and this package transformers>=5.10, torchmetrics>=1.6 and jsonargparse>=4.53"
)
"""Reason why the program needs an environment of its own."""


class Comet(NeuralMetric):
    """COMET or xCOMET through ``comet-score``; about 0 to 1, more is better.

    Args:
        source_language: Code of the language of the sources, or a language.
        language: Code of the language of the translations, or a language.
        model: Hub id of the model, such as Unbabel/XCOMET-XL, or a checkpoint file.
        program: Path of ``comet-score`` in the environment that has ``unbabel-comet``.
        gpus: Number of GPUs; 0 for the CPU.
        batch_size: Number of texts scored at once.
    """

    name, trained_on = "comet", XLM_R
    training = "XLM-R, on which COMET's models are built (README of unbabel-comet, Languages Covered)"

    def __init__(
        self,
        source_language: str | Language,
        language: str | Language,
        model: str = "Unbabel/wmt22-comet-da",
        program: str = "comet-score",
        gpus: int = 0,
        batch_size: int = 16,
    ) -> None:
        super().__init__(source_language, language, model)
        found = shutil.which(program)
        if found is None:
            raise ValueError(
                f"Comet.program: there is no {program}; {CONFLICT}, so it needs an environment of its own: run `python "
                "-m venv comet && comet/bin/pip install unbabel-comet`, then give program: comet/bin/comet-score"
            )
        self.program, self.gpus, self.batch_size = found, gpus, batch_size

    def _write(self, place: Path, sources: list[str], predictions: list[str], references: list[str] | None) -> None:
        for name, texts in (("source", sources), ("translation", predictions), ("reference", references)):
            if texts is not None:
                (place / name).write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")

    def _command(self, place: Path, with_references: bool) -> list[str]:
        reference = ["-r", str(place / "reference")] if with_references else []
        return [
            *(self.program, "-s", str(place / "source"), "-t", str(place / "translation"), *reference),
            *("--model", self.model, "--gpus", str(self.gpus), "--batch_size", str(self.batch_size)),
            *("--quiet", "--only_system", "--to_json", str(place / "scores.json")),
        ]

    def _read(self, place: Path) -> list[float]:
        (rows,) = json.loads((place / "scores.json").read_text(encoding="utf-8")).values()
        return [row["COMET"] for row in rows]
