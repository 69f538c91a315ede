"""Score generated text in validation and test; write results and predictions."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from semalign_pl.files.atomic import write_text
from semalign_pl.files.json_text import to_json
from semalign_pl.languages import get_language
from semalign_pl.metrics import Bleu4, ChrF, LanguageConsistency, ReferenceConsistency, RougeL, SemanticSimilarity
from semalign_pl.metrics.base import RowMetric
from semalign_pl.policy.policy import policy_of
from semalign_pl.probes.base import Probe
from semalign_pl.run.folder import may_write
from semalign_pl.run.results import read_training, write_results


class Evaluation(Callback):
    """BLEU-4, chrF++, ROUGE-L, language consistency and semantic similarity of greedy completions.

    Beside language consistency is the references' own (``language_consistency_references``), its practical ceiling:
    human writers use Latin names too. Where the corpus has no references it is left out.

    In validation they are logged under ``val/``. A test prints a table and writes ``RUN/results.json`` (every score
    with confidence interval and signature, those of the probes too) and ``RUN/predictions.jsonl``. ``predict`` writes
    the latter alone.

    Args:
        language: Code of the language of the references.
        encoder: SentenceTransformer for semantic similarity: hub id or folder; without it that score is left out.
    """

    def __init__(self, language: str = "bo", encoder: str | None = None) -> None:
        super().__init__()
        profile = get_language(language)
        self.metrics: dict[str, RowMetric] = {
            "bleu4": Bleu4(profile),
            "chrf": ChrF(profile),
            "rouge_l": RougeL(profile),
            "language_consistency": LanguageConsistency(profile),
            "language_consistency_references": ReferenceConsistency(profile),
        }
        if encoder is not None:
            self.metrics["semantic_similarity"] = SemanticSimilarity(encoder)
        self._rows: list[dict[str, Any]] = []
        self._started = 0.0

    # -- validation --------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last validation."""
        self._reset(pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add a batch."""
        self._add(outputs)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log every score."""
        for name, metric in self.metrics.items():
            if not math.isnan(value := float(metric.compute())):
                pl_module.log(f"val/{name}", value, prog_bar=name == "semantic_similarity")

    # -- test and predict --------------------------------------------------------------------------------------

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._reset(pl_module)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add a batch."""
        self._add(outputs)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather, write and print."""
        scores = {name: metric.score() for name, metric in self.metrics.items()}
        scores = {name: score for name, score in scores.items() if not math.isnan(score.value)}
        for callback in getattr(trainer, "callbacks", []):
            if isinstance(callback, Probe):
                scores |= callback.scores
        rows = _gather(self._rows, trainer)
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        module: Any = pl_module
        if may_write(trainer):
            write_predictions(folder / "predictions.jsonl", rows)
        run = {
            "rows": len(rows),
            "prompts_cut": policy_of(pl_module).truncated_prompts,
            "texts_cut_by_encoder": self._texts_cut(),
            "decode": f"greedy|max_new:{module.max_new_tokens}",
            "seed": module.seed,
            "seconds": time.monotonic() - self._started,
            "trained": read_training(module.adapter),
        }
        write_results(folder if may_write(trainer) else None, scores, run)

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget what was there."""
        self._reset(pl_module)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add a batch, unscored."""
        self._rows += _bare_rows(outputs)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the predictions."""
        rows = _gather(self._rows, trainer)
        if may_write(trainer):
            write_predictions(Path(trainer.default_root_dir) / "predictions.jsonl", rows)

    def _texts_cut(self) -> int | None:
        similarity = self.metrics.get("semantic_similarity")
        return similarity.encoder.truncated if isinstance(similarity, SemanticSimilarity) else None

    def _reset(self, pl_module: LightningModule) -> None:
        self._started = time.monotonic()
        self._rows = []
        for metric in self.metrics.values():
            metric.to(pl_module.device).reset()

    def _add(self, outputs: dict[str, Any]) -> None:
        predictions = outputs["predictions"]
        references = [example.reference for example in outputs["examples"]]
        rows = list(_bare_rows(outputs))
        for name, metric in self.metrics.items():
            metric.update(predictions, references)
            for row, value in zip(rows, metric.per_row(predictions, references), strict=True):
                if not math.isnan(value):
                    row["scores"][name] = value
        self._rows += rows


def _bare_rows(outputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for example, prediction in zip(outputs["examples"], outputs["predictions"], strict=True):
        yield {
            "id": example.id,
            "prompt": example.prompt,
            "reference": example.reference,
            "prediction": prediction,
            "scores": {},
        }


def _gather(rows: list[dict[str, Any]], trainer: Trainer) -> list[dict[str, Any]]:
    """The rows of all ranks, in file order: rank r of n holds rows r, r + n and so on."""
    if trainer.world_size == 1:
        return rows
    shards: list[list[dict[str, Any]]] = [[] for _ in range(trainer.world_size)]
    torch.distributed.all_gather_object(shards, rows)
    return [shard[i] for i in range(len(shards[0])) for shard in shards if i < len(shard)]


def write_predictions(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object a line.

    Args:
        path: Overwritten if present.
        rows: Objects.
    """
    write_text(path, "".join(to_json(row, path) + "\n" for row in rows))
