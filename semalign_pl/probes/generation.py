"""Probe of any task with short answers: prompts from a file's columns, greedy answers, and their comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from semalign_pl.data import prompts
from semalign_pl.data.reading.fields import Fault
from semalign_pl.data.reading.formats import escape
from semalign_pl.engine.generate import generate
from semalign_pl.functional.formulas import score_items
from semalign_pl.metrics.squad_scorers import answer_scorer
from semalign_pl.policy.policy import Policy
from semalign_pl.probes.base import Probe
from semalign_pl.probes.generation_answers import Match, check_rule, compare, extract, to_number
from semalign_pl.probes.generation_rows import Record, draw, read_records, texts_at
from semalign_pl.types import Item, Measurement, Prompt, Turn

_BY_RULES = ("normalised", "contains", "f1")
"""Comparisons by the rules of a language."""


@dataclass(frozen=True)
class _Question:
    """Row of the file.

    Attributes:
        id: Source of the row, such as ``test.jsonl:17``.
        message: User's message.
        references: Accepted answers as the file has them, at least one.
    """

    id: str
    message: str
    references: Sequence[str]


class GenerationProbe(Probe):
    """Greedy answers to prompts made from the rows of any file: exact match, and F1 if asked for, 0 to 100.

    Scores are ``NAME_exact_match`` and, with ``match: f1``, ``NAME_f1``; items are the rows. Arithmetic such as GSM8K
    needs ``extract: last_number``, ``reference_extract: "#### (.+)"`` and ``match: number``.

    Args:
        file: File of any format that the data module reads (.jsonl, .csv, .parquet, SQuAD .json …), or a hub data set
            such as openai/gsm8k:main@test.
        prompt: Template of the user's message; every {column} is read from the row, {{ and }} are braces.
        reference: Column of the accepted answer, or of a list of several, or a path such as answers.text.
        extract: Part of the generated text that is the answer: first_number, last_number, first_line, or a regular
            expression whose first group it is; null for the whole text.
        reference_extract: Part of the reference that is the answer, as for extract.
        match: Comparison with the accepted answers: exact, normalised (by the rules of language), number, contains, or
            f1 (of shared words, in addition to normalised). An answer is right if it matches one of them.
        language: Language of the answers, whose rules normalised, contains and f1 follow: SQuAD's for en, CMRC's for
            zh, units of languages.yaml for any other.
        examples: File with rows to show as solved examples before each prompt, such as the training split; null for
            none.
        num_examples: Number of examples, drawn by seed; the same ones for every prompt.
        limit: Maximum number of rows, drawn by seed; null for all.
        max_prompt_tokens: Maximum number of tokens per prompt. Longer ones lose examples, then the end of the message,
            and are counted in the signature.
        max_new_tokens: Maximum number of tokens per answer.
        name: Prefix of the scores' names, and name of the set of items.
        seed: Seed of the draws of rows and examples.
        every_n_steps: Number of optimiser steps between measurements during training; null to measure only in a test.
    """

    def __init__(
        self,
        file: str,
        prompt: str,
        reference: str = "answer",
        extract: str | None = None,
        reference_extract: str | None = None,
        match: Match = "exact",
        language: str = "en",
        examples: str | None = None,
        num_examples: int = 0,
        limit: int | None = None,
        max_prompt_tokens: int = 2048,
        max_new_tokens: int = 256,
        name: str = "generation",
        seed: int = 0,
        every_n_steps: int | None = None,
    ) -> None:
        super().__init__(every_n_steps)
        owner = type(self).__name__
        self.check_positive(limit=limit, max_prompt_tokens=max_prompt_tokens, max_new_tokens=max_new_tokens)
        if num_examples < 0 or (num_examples > 0) != (examples is not None):
            raise ValueError(
                f"{owner}.num_examples: {num_examples} with examples: {examples}; give both a file and a number, or "
                "neither"
            )
        if examples == file:
            raise ValueError(f"{owner}.examples: {file} has the tested rows, with their answers; give a file of others")
        check_rule(f"{owner}.extract", extract)
        check_rule(f"{owner}.reference_extract", reference_extract)
        self.file, self.prompt, self.reference, self.name, self.seed = file, prompt, reference, name, seed
        self.extract, self.reference_extract, self.language = extract, reference_extract, language
        self.match: Match = match
        self.limit, self.max_prompt_tokens, self.max_new_tokens = limit, max_prompt_tokens, max_new_tokens
        self._scorer = answer_scorer(language)
        self._questions = draw(self._read("file", file), limit, seed)
        for question in self._questions:
            self._check_answers(question)
        shown = draw(self._read("examples", examples, "train"), num_examples, seed) if examples is not None else []
        if len(shown) < num_examples:
            raise ValueError(f"{owner}.num_examples: {num_examples}, and {examples} has {len(shown)} rows; give fewer")
        tested = {(one.message, *one.references): one.id for one in self._questions}
        for example in shown:
            if (row := tested.get((example.message, *example.references))) is not None:
                raise ValueError(
                    f"{owner}.examples: {escape(example.id)} is the tested {escape(row)}, with its answer; drop it "
                    "from the examples, or give another seed"
                )
        self._shown = [
            turn
            for example in shown
            for turn in (Turn("user", example.message), Turn("assistant", example.references[0]))
        ]

    def measure(self, policy: Policy) -> Measurement:
        """Answer every prompt greedily and score the answers."""
        asked: list[Prompt] = [
            [*self._shown, Turn("user", question.message)] if self._shown else question.message
            for question in self._questions
        ]
        ids, cut = policy.encoder.encode_prompts(asked, self.max_prompt_tokens)
        if not all(ids):
            raise ValueError(
                f"{type(self).__name__}.max_prompt_tokens: {self.max_prompt_tokens} is too small for the chat "
                "template; raise it"
            )
        texts = generate(policy, ids, max_new_tokens=self.max_new_tokens, rows=32).texts
        items = [self._score(question, text) for question, text in zip(self._questions, texts, strict=True)]
        signature = self._signature(sum(cut))
        scores = {
            key: score_items(items, key, "mean", f"{key.removeprefix(f'{self.name}_')}|{signature}")
            for key in items[0].statistics
        }
        return Measurement(scores, items)

    def _score(self, question: _Question, text: str) -> Item:
        answer = extract(text, self.extract)
        references = [extract(reference, self.reference_extract) for reference in question.references]
        right = compare(answer, references, self.match, self._scorer)
        statistics = {f"{self.name}_exact_match": [100 * right]}
        if self.match == "f1":
            statistics[f"{self.name}_f1"] = [100 * self._scorer.f1(answer, references)]
        return Item(self.name, question.id, statistics, text)

    def _signature(self, cut: int) -> str:
        rules = self._scorer.name if self.match in _BY_RULES else "none"
        return (
            f"rows:{len(self._questions)}|seed:{self.seed}|answers:generated|decode:greedy|max_new:{self.max_new_tokens}"
            f"|max_prompt:{self.max_prompt_tokens}|cut:{cut}|examples:{len(self._shown) // 2}|extract:{self.extract!r}"
            f"|reference:{self.reference_extract!r}|match:{self.match}|scorer:{rules}|prompt:{self.prompt!r}|scale:100"
        )

    def _read(self, option: str, file: str, split: str = "test") -> list[_Question]:
        """Rows of a file as questions.

        Raises:
            ValueError: If the file cannot be used; names file, row and remedy.
        """
        owner = type(self).__name__
        columns = prompts.fields(self.prompt, f"{owner}.prompt")
        records = read_records(f"{owner}.{option}", file, {*columns, self.reference}, split)
        questions = []
        for id, record in records.items():
            try:
                message, references = self._fill(columns, record), texts_at(record, self.reference)
            except Fault as fault:
                raise ValueError(f"{owner}.{option}: {escape(id)}: {fault}") from fault
            if not references:
                raise ValueError(
                    f"{owner}.{option}: {escape(id)}: {self.reference!r} has no answer; fill it in or drop the row"
                )
            questions.append(_Question(id, message, references))
        return questions

    def _fill(self, columns: Sequence[str], record: Record) -> str:
        return prompts.fill(self.prompt, {column: "\n".join(texts_at(record, column)) for column in columns})

    def _check_answers(self, question: _Question) -> None:
        """Refuse accepted answers that no output, or an empty one, would match.

        Raises:
            ValueError: If nothing is extracted from a reference, it is no number where numbers are compared, or the
                rules of the language leave nothing of it, as of a sign.
        """
        for reference in question.references:
            answer = extract(reference, self.reference_extract)
            empty = not answer or (self.match in _BY_RULES and not self._scorer.units(answer))
            if empty or (self.match == "number" and to_number(answer) is None):
                kind = "number" if self.match == "number" else "answer"
                raise ValueError(
                    f"{type(self).__name__}.reference_extract: {self.reference_extract!r} finds no {kind} in "
                    f"{escape(question.id)}: {escape(reference, 60)!r}; change it, or drop the row"
                )
