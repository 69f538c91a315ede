"""Scores of evaluated rows: each row by the language of its task, and each task apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from semalign_pl.callbacks.scored_rows import ScoredRow, TaskKey, items_of, unscored_rows
from semalign_pl.callbacks.task_scores import ScoreNames
from semalign_pl.functional.formulas import score_items
from semalign_pl.languages import Language, get_language
from semalign_pl.languages.by_task import TaskLanguages
from semalign_pl.metrics.base import RowMetric
from semalign_pl.types import Example, Item, MetricResult


class TaskScorer:
    """Scorer of the rows of one task or of several.

    Args:
        language: Language of the rows whose task names none.
        metrics: Metrics by name, of rows in this language; they keep the statistics of these rows. A metric that is
            added later is computed, too.

    Attributes:
        rows: Scored rows of this rank.
        others: Language of each corpus that has another one, or why it is not scored, by name of the corpus.
    """

    def __init__(self, language: Language, metrics: dict[str, RowMetric]) -> None:
        self.language, self.metrics = language, metrics
        self.rows: list[ScoredRow] = []
        self.others: dict[str, str] = {}
        self._languages = TaskLanguages(language)
        self._metrics_of = {"": metrics}  # by code of the language

    def reset(self, device: torch.device) -> None:
        """Forget all rows.

        Args:
            device: Device of the metrics' states.
        """
        self.rows, self.others = [], {}
        for metric in self.metrics.values():
            metric.to(device).reset()

    def add(self, examples: Sequence[Example], predictions: Sequence[str]) -> None:
        """Score rows. Those of a task whose language has no rules are left out.

        Args:
            examples: Examples of a batch.
            predictions: Completions of the policy, one per example.
        """
        pairs = zip(examples, predictions, strict=True)
        scored = [(e, text, language) for e, text in pairs if (language := self._language_of(e)) is not None]
        rows = [
            replace(row, key=TaskKey(example.task, "" if language is self.language else language.code))
            for row, (example, _, language) in zip(
                unscored_rows([e for e, _, _ in scored], [text for _, text, _ in scored]), scored, strict=True
            )
        ]
        # Without a row, too: ranks gather the states of the metrics in this language, which need one shape on all.
        for code in dict.fromkeys(["", *(row.key.language for row in rows)]):
            self._score_rows([row for row in rows if row.key.language == code], self._metrics_in(code))
        self.rows += rows

    def score_tasks(
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
            why = f" ({others})" if (others := self.describe_others()) else ""
            raise ValueError(f"data.init_args.test: there is no row to score{why}; name a corpus that has some")
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

    def describe_others(self) -> str:
        """Corpora that are scored by another language, or not scored; empty if there are none."""
        return "; ".join(f"{corpus} is {what}" for corpus, what in self.others.items())

    def _language_of(self, example: Example) -> Language | None:
        """Language that scores a row; ``None`` if that of its task has no rules."""
        try:
            language = self._languages.of(example)
        except ValueError as error:
            self.others[example.corpus or example.id] = f"not scored, because {error.__cause__}"
            return None
        if language is not self.language:
            self.others[example.corpus or example.id] = f"scored in {language.code}"
        return language

    def _metrics_in(self, code: str) -> dict[str, RowMetric]:
        """Metrics by name, by the rules of a language; those of other languages keep no state."""
        if code not in self._metrics_of:
            language = self._languages.known.get(code) or get_language(code)  # all its rows may be another rank's
            self._metrics_of[code] = {name: metric.in_language(language) for name, metric in self.metrics.items()}
        return self._metrics_of[code]

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
