"""Probe of translation in a direction or language that is not trained."""

from __future__ import annotations

from semalign_pl.data.reading.formats import BadRow
from semalign_pl.data.reading.sources import stream
from semalign_pl.data.tasks import Task
from semalign_pl.engine.generate import generate
from semalign_pl.functional.formulas import score_items
from semalign_pl.languages import get_language
from semalign_pl.metrics import Bleu4, ChrF, SemanticSimilarity
from semalign_pl.metrics.base import RowMetric
from semalign_pl.policy.policy import Policy
from semalign_pl.probes.base import Probe
from semalign_pl.probes.generation_rows import draw
from semalign_pl.types import Example, Item, Measurement


class TranslationProbe(Probe):
    """Quality of greedy completions of a task that is not trained, such as the reverse direction of translation.

    Scores are ``NAME_chrf`` (chrF++), ``NAME_bleu`` (BLEU-4) and, with an encoder, ``NAME_similarity``, as
    ``Evaluation`` computes them for the trained task. Items are the rows.

    Args:
        file: File of pairs of any format that the data module reads, or a hub data set (owner/name:config@split).
        task: Task that makes prompts and references of rows, as that of the data module: Translation with source and
            target, Headline, Summarisation or Instruction.
        columns: Name of the file's column for each field, e.g. {zh: chinese}; by default the field's own name.
        encoder: SentenceTransformer for the similarity to the reference: hub id or folder; null leaves this score out.
        limit: Maximum number of rows, drawn by seed; null for all.
        max_prompt_tokens: Maximum number of tokens per prompt; longer ones are cut at the end of the message, and
            counted in the signature.
        max_new_tokens: Maximum number of tokens per completion.
        name: Prefix of the scores' names, and name of the set of items; by default the codes of the directions, such as
            bo-zh.
        seed: Seed of the draw of rows.
        every_n_steps: Number of optimiser steps between measurements during training; null to measure only in a test.
    """

    def __init__(
        self,
        file: str,
        task: Task,
        columns: dict[str, str] | None = None,
        encoder: str | None = None,
        limit: int | None = 200,
        max_prompt_tokens: int = 1024,
        max_new_tokens: int = 128,
        name: str | None = None,
        seed: int = 0,
        every_n_steps: int | None = None,
    ) -> None:
        super().__init__(every_n_steps)
        self.check_positive(limit=limit, max_prompt_tokens=max_prompt_tokens, max_new_tokens=max_new_tokens)
        if not task.target_language:
            raise ValueError(
                "TranslationProbe.task: it names no language of the completion, whose words are counted; set language"
            )
        self.file, self.task, self.limit, self.seed = file, task, limit, seed
        self.max_prompt_tokens, self.max_new_tokens = max_prompt_tokens, max_new_tokens
        self.name = "-".join(task.fields[:2]) if name is None else name
        language = get_language(task.target_language)
        self.metrics: dict[str, RowMetric] = {
            f"{self.name}_chrf": ChrF(language),
            f"{self.name}_bleu": Bleu4(language),
        }
        if encoder is not None:
            self.metrics[f"{self.name}_similarity"] = SemanticSimilarity(encoder)
        self.examples = draw(_read_examples(file, task, columns or {}), limit, seed)

    def measure(self, policy: Policy) -> Measurement:
        """Complete every prompt greedily and score the completions."""
        prompts = [example.policy_prompt for example in self.examples]
        ids, cut = policy.encoder.encode_prompts(prompts, self.max_prompt_tokens)
        texts = generate(policy, ids, max_new_tokens=self.max_new_tokens, rows=64).texts
        references = [example.reference for example in self.examples]
        statistics = {
            name: metric.to(policy.device).statistics_of(texts, references).tolist()
            for name, metric in self.metrics.items()
        }
        items = [
            Item(self.name, example.id, {name: rows[index] for name, rows in statistics.items()}, text)
            for index, (example, text) in enumerate(zip(self.examples, texts, strict=True))
        ]
        suffix = (
            f"|rows:{len(items)}|seed:{self.seed}|decode:greedy|max_new:{self.max_new_tokens}"
            f"|max_prompt:{self.max_prompt_tokens}|cut:{sum(cut)}|prompt:{self.task.template!r}"
        )
        scores = {}
        for name, metric in self.metrics.items():
            assert metric.formula is not None, "chrF, BLEU and similarity are functions of their items' sums"
            scores[name] = score_items(items, name, metric.formula, metric.signature + suffix)
        return Measurement(scores, items)


def _read_examples(file: str, task: Task, columns: dict[str, str]) -> list[Example]:
    """Rows of a file as examples; the first bad row is an error.

    Raises:
        ValueError: If the file cannot be used.
    """
    examples = []
    try:
        for id, row in stream(
            file,
            task.columns_to_read("test", columns),
            split="test",
            optional=task.optional,
            chat=task.chat("test"),
            languages=task.languages,
        ):
            if isinstance(row, BadRow):
                raise ValueError(row.message)
            examples.append(task.example(row, id))
    except ValueError as error:
        raise ValueError(f"TranslationProbe.file: {error}") from error
    return examples
