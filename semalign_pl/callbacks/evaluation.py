"""Evaluation of generated text in validation and test; writes results and predictions."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT

from semalign_pl.files.atomic import write_text
from semalign_pl.files.json_text import to_json
from semalign_pl.languages import get_language
from semalign_pl.metrics import Bleu4, ChrF, LanguageConsistency, ReferenceConsistency, RougeL, SemanticSimilarity
from semalign_pl.metrics.base import RowMetric
from semalign_pl.probes.base import Probe
from semalign_pl.protocols import GeneratingModule, ScaledModule, has_predictions, missing_members
from semalign_pl.run.results import PointFacts, read_training, write_results
from semalign_pl.run.trainer import callbacks_of, may_write
from semalign_pl.types import Example


class PredictionRow(TypedDict):
    """Row of ``predictions.jsonl``.

    Attributes:
        id: Source of the row, such as ``test.jsonl:17``.
        prompt: User's message.
        reference: Wanted completion; empty if the corpus has none.
        prediction: Completion of the policy.
        scores: Values of the metrics on this row alone, by name; empty under ``predict``.
    """

    id: str
    prompt: str
    reference: str
    prediction: str
    scores: dict[str, float]


class Evaluation(Callback):
    """BLEU-4, chrF++, ROUGE-L, language consistency and semantic similarity of greedy completions.

    The references' own language consistency is reported, too (``language_consistency_references``). It is a practical
    ceiling, because human writers use Latin names. It is left out if the corpus has no references.

    Validation logs the scores under ``val/``. A test prints a table, and writes ``RUN/results.json`` (every score with
    confidence interval and signature, including those of the probes) and ``RUN/predictions.jsonl``. ``predict`` writes
    only ``RUN/predictions.jsonl``.

    Args:
        language: Code of the language of the references.
        encoder: SentenceTransformer for semantic similarity: hub id or folder; null leaves this score out.

    Attributes:
        point: Point of a frontier under test, which a test writes to ``results.json``; ``None`` for a plain test.
    """

    def __init__(self, language: str = "bo", encoder: str | None = None) -> None:
        super().__init__()
        target = get_language(language)
        self.metrics: dict[str, RowMetric] = {
            "bleu4": Bleu4(target),
            "chrf": ChrF(target),
            "rouge_l": RougeL(target),
            "language_consistency": LanguageConsistency(target),
            "language_consistency_references": ReferenceConsistency(target),
        }
        if encoder is not None:
            self.metrics["semantic_similarity"] = SemanticSimilarity(encoder)
        self.point: PointFacts | None = None
        self._rows: list[PredictionRow] = []
        self._started = 0.0

    # -- validation --------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the metrics."""
        self._reset(pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
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
        """Reset the metrics, and start the clock.

        Raises:
            ValueError: If the module has no policy.
        """
        _check(pl_module)
        self._reset(pl_module)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add a batch."""
        self._add(outputs)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather rows and scores, write and print them."""
        scores = {name: metric.score() for name, metric in self.metrics.items()}
        scores = {name: score for name, score in scores.items() if not math.isnan(score.value)}
        for callback in callbacks_of(trainer):
            if isinstance(callback, Probe):
                scores |= callback.scores
        rows = _gather(self._rows, trainer)
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        module = _check(pl_module)
        if may_write(trainer):
            write_predictions(folder / "predictions.jsonl", rows)
        run: dict[str, object] = {
            "rows": len(rows),
            "prompts_cut": module.policy.encoder.truncated_prompts,
            "texts_cut_by_encoder": self._texts_cut(),
            "decode": f"greedy|max_new:{module.max_new_tokens}",
            "seed": module.seed,
            "seconds": time.monotonic() - self._started,
            "trained": read_training(module.adapter),
        }
        if isinstance(module, ScaledModule) and module.adapter_scale != 1:
            run |= {"adapter_scale": module.adapter_scale, "scale_from": module.scale_from}
        write_results(folder if may_write(trainer) else None, scores, run, self.point)

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Discard earlier rows."""
        self._reset(pl_module)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add a batch, without scores."""
        self._rows += _rows_without_scores(*_examples_and_predictions(outputs))

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

    def _add(self, outputs: STEP_OUTPUT) -> None:
        examples, predictions = _examples_and_predictions(outputs)
        references = [example.reference for example in examples]
        rows = list(_rows_without_scores(examples, predictions))
        for name, metric in self.metrics.items():
            metric.update(predictions, references)
            for row, value in zip(rows, metric.per_row(predictions, references), strict=True):
                if not math.isnan(value):
                    row["scores"][name] = value
        self._rows += rows


def _check(module: LightningModule) -> GeneratingModule:
    if not isinstance(module, GeneratingModule):
        raise missing_members("Evaluation", module, "policy, max_new_tokens, adapter and seed")
    return module


def _examples_and_predictions(outputs: STEP_OUTPUT) -> tuple[list[Example], list[str]]:
    if not has_predictions(outputs):
        raise ValueError(
            "trainer.callbacks: Evaluation scores the completions that a validation, test or predict step returns as "
            "{'examples': …, 'predictions': …}, and the step of this module returns none; leave Evaluation out"
        )
    return outputs["examples"], outputs["predictions"]


def _rows_without_scores(examples: Sequence[Example], predictions: Sequence[str]) -> Iterator[PredictionRow]:
    for example, prediction in zip(examples, predictions, strict=True):
        yield {
            "id": example.id,
            "prompt": example.prompt,
            "reference": example.reference,
            "prediction": prediction,
            "scores": {},
        }


def _gather(rows: list[PredictionRow], trainer: Trainer) -> list[PredictionRow]:
    """Rows of all ranks, in file order: rank r of n has rows r, r + n and so on."""
    if trainer.world_size == 1:
        return rows
    shards: list[list[PredictionRow]] = [[] for _ in range(trainer.world_size)]
    torch.distributed.all_gather_object(shards, rows)
    return [shard[i] for i in range(len(shards[0])) for shard in shards if i < len(shard)]


def write_predictions(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write one JSON object per line.

    Args:
        path: Path of the file; an existing file is overwritten.
        rows: Objects to write.
    """
    write_text(path, "".join(to_json(row, path) + "\n" for row in rows))
