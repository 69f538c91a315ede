"""MetricX-24 (WMT 2024), by the script of its repository."""

from __future__ import annotations

import json
from pathlib import Path

from semalign_pl.languages import Language
from semalign_pl.metrics.neural import NeuralMetric
from semalign_pl.metrics.neural_languages import METRICX


class MetricX(NeuralMetric):
    """MetricX-24 through its ``metricx24.predict``: predicted MQM error score, 0 to 25, less is better.

    Args:
        source_language: Code of the language of the sources, or a language.
        language: Code of the language of the translations, or a language.
        folder: Checkout of https://github.com/google-research/metricx.
        model: Hub id or folder of the model.
        tokenizer: Hub id or folder of the mT5 tokenizer of the model's size.
        python: Python of the environment that has the requirements of the checkout.
        batch_size: Number of texts scored at once.
    """

    name, trained_on = "metricx24", METRICX
    training = "mT5, on which MetricX is built (README of google-research/multilingual-t5)"

    def __init__(
        self,
        source_language: str | Language,
        language: str | Language,
        folder: str,
        model: str = "google/metricx-24-hybrid-xl-v2p6",
        tokenizer: str = "google/mt5-xl",
        python: str = "python",
        batch_size: int = 1,
    ) -> None:
        super().__init__(source_language, language, model)
        if not (Path(folder) / "metricx24" / "predict.py").is_file():
            raise ValueError(
                f"MetricX.folder: {folder} has no metricx24/predict.py; MetricX is no package: run `git clone "
                "https://github.com/google-research/metricx` and install its requirements.txt into an environment of "
                "its own, then give python: that environment's"
            )
        self.folder, self.tokenizer, self.batch_size = folder, tokenizer, batch_size
        # The program runs in the checkout, so paths relative to the working folder are made absolute.
        self.python = str(Path(python).absolute()) if "/" in python else python

    @property
    def _folder(self) -> str | None:
        return self.folder

    def _write(self, place: Path, sources: list[str], predictions: list[str], references: list[str] | None) -> None:
        given = zip(sources, predictions, references or [""] * len(sources), strict=True)
        rows = [{"source": source, "hypothesis": text, "reference": reference} for source, text, reference in given]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (place / "input.jsonl").write_text(lines, encoding="utf-8")

    def _command(self, place: Path, with_references: bool) -> list[str]:
        return [
            *(self.python, "-m", "metricx24.predict", "--tokenizer", _id_or_folder(self.tokenizer)),
            *("--model_name_or_path", _id_or_folder(self.model), "--max_input_length", "1536"),
            *("--batch_size", str(self.batch_size), "--input_file", str(place / "input.jsonl")),
            *("--output_file", str(place / "output.jsonl"), *([] if with_references else ["--qe"])),
        ]

    def _read(self, place: Path) -> list[float]:
        lines = (place / "output.jsonl").read_text(encoding="utf-8").split("\n")
        return [json.loads(line)["prediction"] for line in lines if line]


def _id_or_folder(name: str) -> str:
    """Hub id as it is, or absolute path of a folder, because the program has another working folder."""
    return str(Path(name).absolute()) if Path(name).exists() else name
