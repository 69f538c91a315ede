"""Evaluation of generated text in validation and test; writes results and predictions."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT

from semalign_pl.callbacks.scored_rows import TEST_SET, TaskKey, gather, unscored_rows, write_predictions
from semalign_pl.callbacks.task_scorer import TaskScorer
from semalign_pl.callbacks.task_scores import ScoreNames, TaskSums
from semalign_pl.data import CorpusDataModule
from semalign_pl.data.corpora import unnamed_target
from semalign_pl.languages import get_language
from semalign_pl.languages.by_task import check_language
from semalign_pl.metrics import Bleu4, ChrF, LanguageConsistency, ReferenceConsistency, RougeL, SemanticSimilarity
from semalign_pl.metrics.base import RowMetric
from semalign_pl.probes.base import check_names, probes_of
from semalign_pl.protocols import GeneratingModule, MixedData, ScaledModule, has_predictions, missing_members
from semalign_pl.run.items import write_items
from semalign_pl.run.results import read_training, write_results
from semalign_pl.run.trainer import data_module_of, may_write
from semalign_pl.types import Example, Histogram, Json

log = logging.getLogger(__name__)
_SCORED = {"fit": "validation", "validate": "validation", "test": "test"}
"""Split that each stage scores."""


class Evaluation(Callback):
    """BLEU-4, chrF++, ROUGE-L, language consistency and semantic similarity of greedy completions.

    The references' own language consistency is reported, too (``language_consistency_references``). It is a practical
    ceiling, because human writers use Latin names. It is left out if the corpus has no references.

    Validation logs the scores under ``val/``. A test prints a table, and writes ``RUN/results.json`` (every score with
    confidence interval and signature, including those of the probes), ``RUN/items.jsonl`` (what the scores are computed
    from, per row and per item of a probe) and ``RUN/predictions.jsonl``. ``predict`` writes only
    ``RUN/predictions.jsonl``.

    In a mix of corpora with different tasks, each row is scored by the language of its task, and each task has scores
    of its own: ``chrf`` is that of the task in this language, and ``news_chrf`` that of the corpus named ``news``. If
    several tasks are in this language, each has such a name in a test, and the scores of a validation without one are
    those of all rows in this language. Raw text is not scored.

    Args:
        language: Code of the language of the references; in a mix, of those whose task names none.
        encoder: SentenceTransformer for semantic similarity: hub id or folder; null leaves this score out.

    Attributes:
        language: Language of the rows whose task names none.
        metrics: Metrics by name, of rows in this language.
        scorer: Scorer of the rows of all tasks.
        system: Name of the tested system in the results; ``None`` for the name of the run's folder.
        point: Point of the system that is tested: ``end``, ``step-N`` or ``scale-S``.
        terms: Adapters and weights that the point is the sum of, for the results; ``None`` for a plain test, which also
            prints its scores.
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
        self.system: str | None = None
        self.point = "end"
        self.terms: list[Json] | None = None
        self.language = target
        self.scorer = TaskScorer(target, self.metrics)
        self._told = False
        self._started = 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check the language before anything is trained or generated.

        Raises:
            ValueError: If the only corpus has a task that answers in another script.
        """
        data = data_module_of(trainer)
        if isinstance(data, CorpusDataModule) and stage in _SCORED:
            check_language("Evaluation", self.language, unnamed_target(data, _SCORED[stage]))

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
        """Log every score; none without a row to score, as in a corpus of raw text."""
        self._tell_other_languages(trainer)
        sums = TaskSums.of(self.scorer.rows).over_ranks(trainer)
        own = any(not key.language for key in sums.rows)
        values = {name: float(metric.compute()) for name, metric in self.metrics.items()} if own else {}
        for name, value in (values | sums.values(self.metrics)).items():
            if not math.isnan(value):
                pl_module.log(f"val/{name}", value, prog_bar=name == "semantic_similarity")

    # -- test and predict --------------------------------------------------------------------------------------

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset the metrics, and start the clock.

        Raises:
            ValueError: If the module has no policy.
        """
        _check(pl_module)
        self._reset(pl_module)

    def on_test_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Check the names of the scores before the first batch, when all probes have measured.

        Raises:
            ValueError: If two callbacks measure the same score, or name the same set of items.
        """
        if batch_idx == 0:
            data = data_module_of(trainer)
            corpora = data.corpus_names.get("test", ()) if isinstance(data, MixedData) else ()
            scores = [("score", f"{of}{name}") for of in ("", *(f"{one}_" for one in corpora)) for name in self.metrics]
            check_names(probes_of(trainer), [*scores, ("set of items", TEST_SET)])

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
        rows = gather(self.scorer.rows, trainer)
        names = ScoreNames.of(row.key for row in rows)
        # Only metrics without a formula gather what they need themselves, on all ranks.
        plain = names.prefixes.get(next((row.key for row in rows if not row.key.language), TaskKey()))
        own = {name: m.score() for name, m in self.metrics.items() if not m.has_items} if plain == "" else {}
        if not trainer.is_global_zero:
            return
        self._tell_other_languages(trainer)
        scores, items = self.scorer.score_tasks(rows, names, own)
        histograms: dict[str, Histogram] = {}
        for probe in probes_of(trainer):
            scores |= probe.measurement.scores
            items += probe.measurement.items
            histograms |= probe.measurement.histograms
        folder = Path(trainer.default_root_dir)
        module = _check(pl_module)
        if may_write(trainer):
            write_predictions(folder / "predictions.jsonl", [row.line for row in rows])
            write_items(folder, items, self.system or folder.resolve().name, self.point)
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
        if self.terms is not None:
            run["terms"] = self.terms
        place = folder if may_write(trainer) else None
        write_results(place, scores, run, histograms, self.point, show=self.terms is None)

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
        self.scorer.rows += unscored_rows(*_examples_and_predictions(outputs))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the predictions."""
        rows = gather(self.scorer.rows, trainer)
        if may_write(trainer):
            write_predictions(Path(trainer.default_root_dir) / "predictions.jsonl", [row.line for row in rows])

    def _tell_other_languages(self, trainer: Trainer) -> None:
        """Say once which rows are scored by another language, and which are not scored."""
        if (others := self.scorer.describe_others()) and not self._told and trainer.is_global_zero:
            self._told = True
            log.warning(
                "Evaluation.language: %s is for rows whose task names no language; of those that do, %s",
                self.language.code,
                others,
            )

    def _texts_cut(self) -> int | None:
        similarity = self.metrics.get("semantic_similarity")
        return similarity.texts_cut if isinstance(similarity, SemanticSimilarity) else None

    def _reset(self, pl_module: LightningModule) -> None:
        self._started = time.monotonic()
        self.scorer.reset(pl_module.device)

    def _add(self, outputs: STEP_OUTPUT) -> None:
        self.scorer.add(*_examples_and_predictions(outputs))


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
