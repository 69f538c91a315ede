"""Evaluation of generated text in validation and test; writes results and predictions."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT

from semalign_pl.callbacks.scored_rows import (
    TEST_SET,
    ScoredRow,
    TaskKey,
    gather,
    items_of,
    unscored_rows,
    write_predictions,
)
from semalign_pl.callbacks.task_scores import ScoreNames, TaskSums
from semalign_pl.functional.formulas import score_items
from semalign_pl.languages import Language, get_language
from semalign_pl.languages.by_task import TaskLanguages
from semalign_pl.metrics import Bleu4, ChrF, LanguageConsistency, ReferenceConsistency, RougeL, SemanticSimilarity
from semalign_pl.metrics.base import RowMetric
from semalign_pl.probes.base import Probe
from semalign_pl.protocols import GeneratingModule, MixedData, ScaledModule, has_predictions, missing_members
from semalign_pl.run.items import write_items
from semalign_pl.run.results import read_training, write_results
from semalign_pl.run.trainer import callbacks_of, data_module_of, may_write
from semalign_pl.types import Example, Histogram, Item, Json, MetricResult

log = logging.getLogger(__name__)


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
        self._languages = TaskLanguages(target)
        self._metrics_of: dict[str, dict[str, RowMetric]] = {"": self.metrics}  # by code of the language
        self._others: dict[str, str] = {}  # language of each corpus that has another one, or why it is not scored
        self._told = False
        self._rows: list[ScoredRow] = []
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
        """Log every score; none without a row to score, as in a corpus of raw text."""
        self._tell_other_languages(trainer)
        sums = TaskSums.of(self._rows).over_ranks(trainer)
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
            _check_names(
                [f"{of}{name}" for of in ("", *(f"{one}_" for one in corpora)) for name in self.metrics],
                _probes(trainer),
            )

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
        rows = gather(self._rows, trainer)
        names = ScoreNames.of(row.key for row in rows)
        # Only metrics without a formula gather what they need themselves, on all ranks.
        plain = names.prefixes.get(next((row.key for row in rows if not row.key.language), TaskKey()))
        own = {name: m.score() for name, m in self.metrics.items() if not m.has_items} if plain == "" else {}
        if not trainer.is_global_zero:
            return
        self._tell_other_languages(trainer)
        scores, items = self._scores(rows, names, own)
        histograms: dict[str, Histogram] = {}
        for probe in _probes(trainer):
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

    def _scores(
        self, rows: Sequence[ScoredRow], names: ScoreNames, own: Mapping[str, MetricResult]
    ) -> tuple[dict[str, MetricResult], list[Item]]:
        """Scores of each task with their items; the rows' own scores get the names of their task.

        Args:
            rows: Rows of all ranks.
            names: Names of the scores of each task.
            own: Scores of the metrics without a formula, on the rows with the plain names.

        Raises:
            ValueError: If there is no row.
        """
        if not rows:
            why = "; ".join(f"{corpus} is {what}" for corpus, what in self._others.items())
            raise ValueError(
                f"data.init_args.test: there is no row to score{f' ({why})' if why else ''}; name a corpus that has "
                "some"
            )
        scores: dict[str, MetricResult] = {}
        items: list[Item] = []
        for key, prefix in names.prefixes.items():
            metrics = self._metrics_in(key.language)
            of_key = [row for row in rows if row.key == key]
            titles = {name: f"{prefix}{name}" for name in metrics}
            task = f"|task:{prefix[:-1]}" if prefix else ""
            for row in of_key:
                row.line["scores"] = {titles[name]: score for name, score in row.line["scores"].items()}
            found = items_of(of_key, titles, names.item_set(key))
            results = {
                titles[name]: score_items(found, titles[name], metric.formula, f"{metric.signature}{task}")
                for name, metric in metrics.items()
                if metric.formula is not None and metric.has_items
            } | ({} if prefix else dict(own))
            kept = [name for name in titles.values() if name in results and not math.isnan(results[name].value)]
            scores |= {name: results[name] for name in kept}
            items += items_of(
                of_key, {name: title for name, title in titles.items() if title in kept}, names.item_set(key)
            )
        return scores, items

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
        self._rows += unscored_rows(*_examples_and_predictions(outputs))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the predictions."""
        rows = gather(self._rows, trainer)
        if may_write(trainer):
            write_predictions(Path(trainer.default_root_dir) / "predictions.jsonl", [row.line for row in rows])

    def _language_of(self, example: Example) -> Language | None:
        """Language that scores a row; ``None`` if that of its task has no rules."""
        try:
            language = self._languages.of(example)
        except ValueError as error:
            self._others[example.corpus or example.id] = f"not scored, because {error.__cause__}"
            return None
        if language is not self.language:
            self._others[example.corpus or example.id] = f"scored in {language.code}"
        return language

    def _metrics_in(self, code: str) -> dict[str, RowMetric]:
        """Metrics by name, by the rules of a language; those of other languages keep no state."""
        if code not in self._metrics_of:
            language = self._languages.known[code]
            self._metrics_of[code] = {name: metric.in_language(language) for name, metric in self.metrics.items()}
        return self._metrics_of[code]

    def _tell_other_languages(self, trainer: Trainer) -> None:
        """Say once which rows are scored by another language, and which are not scored."""
        if self._others and not self._told and trainer.is_global_zero:
            self._told = True
            log.warning(
                "Evaluation.language: %s is for rows whose task names no language; of those that do, %s",
                self.language.code,
                "; ".join(f"{corpus} is {what}" for corpus, what in self._others.items()),
            )

    def _texts_cut(self) -> int | None:
        similarity = self.metrics.get("semantic_similarity")
        return similarity.texts_cut if isinstance(similarity, SemanticSimilarity) else None

    def _reset(self, pl_module: LightningModule) -> None:
        self._started = time.monotonic()
        self._rows, self._others = [], {}
        for metric in self.metrics.values():
            metric.to(pl_module.device).reset()

    def _add(self, outputs: STEP_OUTPUT) -> None:
        pairs = zip(*_examples_and_predictions(outputs), strict=True)
        scored = [(e, text, language) for e, text in pairs if (language := self._language_of(e)) is not None]
        rows = [
            replace(row, key=TaskKey(example.task, "" if language is self.language else language.code))
            for row, (example, _, language) in zip(
                unscored_rows([e for e, _, _ in scored], [text for _, text, _ in scored]), scored, strict=True
            )
        ]
        for code in dict.fromkeys(row.key.language for row in rows):
            self._score_rows([row for row in rows if row.key.language == code], self._metrics_in(code))
        self._rows += rows

    def _score_rows(self, rows: Sequence[ScoredRow], metrics: Mapping[str, RowMetric]) -> None:
        """Score rows of one language, in place."""
        predictions, references = ([row.line[key] for row in rows] for key in ("prediction", "reference"))
        for name, metric in metrics.items():
            if metrics is self.metrics:
                metric.update(predictions, references)
            for row, value in zip(rows, metric.per_row(predictions, references), strict=True):
                if not math.isnan(value):
                    row.line["scores"][name] = value
            if metric.has_items:
                for row, values in zip(rows, metric.statistics_of(predictions, references).tolist(), strict=True):
                    row.statistics[name] = values


def _probes(trainer: Trainer) -> list[Probe]:
    return [callback for callback in callbacks_of(trainer) if isinstance(callback, Probe)]


def _check_names(metrics: Iterable[str], probes: Sequence[Probe]) -> None:
    """Refuse two scores, histograms or sets of items of one name: the results would keep one, or mix both."""
    names = {*(("score", name) for name in metrics), ("set of items", TEST_SET)}
    for probe in probes:
        own = {("score", name) for name in probe.measurement.scores}
        own |= {("histogram", name) for name in probe.measurement.histograms}
        own |= {("set of items", item.set) for item in probe.measurement.items}
        for kind, name in sorted(own & names):
            raise ValueError(
                f"trainer.callbacks: {type(probe).__name__} measures the {kind} {name!r}, and so does another callback "
                "before it; give one of them another name, or leave it out"
            )
        names |= own


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
