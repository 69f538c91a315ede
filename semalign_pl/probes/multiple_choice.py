"""Multiple-choice questions, answered by the log-likelihood of the options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.engine.continuations import Continuation, score_continuations
from semalign_pl.functional.formulas import score_items
from semalign_pl.policy.policy import Policy
from semalign_pl.probes.base import Probe
from semalign_pl.probes.generation_rows import draw
from semalign_pl.probes.multiple_choice_file import draw_examples, read_question_files
from semalign_pl.probes.multiple_choice_layouts import LAYOUTS, FileLayout, own_layout
from semalign_pl.probes.multiple_choice_prompts import Asked, ask, encode, template_of
from semalign_pl.types import Item, Measurement

_ROWS = 128
"""Number of options forwarded at once; bounds memory and changes nothing else."""


class MultipleChoiceProbe(Probe):
    """Accuracy in multiple-choice questions, 0 to 100; the answer is the option with the highest log-likelihood.

    The scores are ``NAME_accuracy`` and, for options as text, ``NAME_accuracy_norm``, which divides the log-likelihood
    of an option by its number of characters. Both are those of lm-evaluation-harness (``acc`` and ``acc_norm``). The
    options of a question share the forward of its prompt, and questions with the same examples share that of these.

    Args:
        file: CSV, JSON or JSON Lines file with questions and options, several files (test/*.csv), or a hub dataset such
            as haonan-li/cmmlu:agronomy@test.
        layout: Layout of the file: cmmlu, ceval, c3, arc, hellaswag, piqa or belebele; null to recognise it by its
            columns.
        columns: Columns of a file of your own by role: question, options (a column with a list, or a list of columns),
            answer (letter, text, or index from 0), and context for a text that the question is about.
        num_examples: Number of few-shot examples before each question, drawn by seed.
        examples: File to draw examples from; with several files, each takes those of the file of the same name
            (law_val.csv and law_dev.csv). null to draw them from the questions. A question that is shown is not asked.
        options: Kind of answer: letters, or the options' text; null for what is usual for the layout.
        prompt: Template that ends in {answer}, with {question}, {options} (or {A}, {B}, …) and {context}; null for the
            layout's.
        description: Text before the examples, with the line breaks after it. The harness has a line about the subject
            for CMMLU and C-Eval.
        chat: Flag to write examples and question as a user's message with the chat template.
        limit: Maximum number of questions, drawn by seed; null for all.
        max_prompt_tokens: Maximum number of tokens per prompt; longer ones are cut at their start, and counted in the
            signature.
        name: Prefix of the scores' names, and name of the set of items; null for the layout's name.
        seed: Seed of the draws of questions and examples.
        every_n_steps: Number of optimiser steps between measurements during training; null to measure only in a test.
    """

    def __init__(
        self,
        file: str,
        layout: Literal["cmmlu", "ceval", "c3", "arc", "hellaswag", "piqa", "belebele"] | None = None,
        columns: dict[str, str | list[str]] | None = None,
        num_examples: int = 0,
        examples: str | None = None,
        options: Literal["letters", "text"] | None = None,
        prompt: str | None = None,
        description: str = "",
        chat: bool = False,
        limit: int | None = None,
        max_prompt_tokens: int = 4096,
        name: str | None = None,
        seed: int = 0,
        every_n_steps: int | None = None,
    ) -> None:
        super().__init__(every_n_steps)
        own = type(self).__name__
        self.check_positive(limit=limit, max_prompt_tokens=max_prompt_tokens)
        if num_examples < 0 or (examples is not None and num_examples == 0):
            raise ValueError(f"{own}.num_examples: {num_examples}; give the number of examples per prompt, e.g. 5")
        given = _layout(own, layout, columns)
        files, found = read_question_files(f"{own}.file", file, "test", given)
        template = template_of(f"{own}.prompt", prompt or found.prompt, options or found.options)
        shown = draw_examples(own, files, found, examples, num_examples, seed)
        used = {question.place_and_text for chosen in shown for question in chosen}
        asked = [
            (question, chosen)
            for of_file, chosen in zip(files, shown, strict=True)
            for question in of_file.questions
            if question.place_and_text not in used
        ]
        drawn = {id(question) for question in draw([question for question, _ in asked], limit, seed)}
        self.asked = [
            ask(question, template, chosen, description) for question, chosen in asked if id(question) in drawn
        ]
        if not self.asked:
            raise ValueError(f"{own}.num_examples: {num_examples} leave no question of {file} to ask; give fewer")
        self.file, self.name, self.seed = file, name or found.name, seed
        self.max_prompt_tokens, self.chat, self.template = max_prompt_tokens, chat, template
        source = "own" if examples is None else "file"
        self._signature = (
            f"questions:{len(self.asked)}|seed:{seed}|layout:{found.name}|options:{template.shown}"
            f"|scored:loglikelihood|examples:{num_examples}" + (f" of {source}" if num_examples else "")
        )
        self._signature += "" if template.text == found.prompt else f"|prompt:{template.text!r}"
        self._signature += f"|description:{description!r}" if description else ""
        self._encoded: tuple[PromptEncoder, list[list[int]], list[list[list[int]]], int] | None = None

    def measure(self, policy: Policy) -> Measurement:
        """Score the options of every question, and count the questions whose right option is the most likely."""
        if self._encoded is None or self._encoded[0] is not policy.encoder:
            ids = encode(policy.encoder, self.asked, self.max_prompt_tokens, self.chat)
            self._encoded = policy.encoder, *ids
        _, contexts, options, cut = self._encoded
        scored = score_continuations(policy, contexts, options, rows=_ROWS)
        items = [self._item(asked, of_options) for asked, of_options in zip(self.asked, scored, strict=True)]
        chat = "|chat" if self.chat else ""
        signature = f"{self._signature}{chat}|max_prompt:{self.max_prompt_tokens}|cut:{cut}|scale:100"
        scores = {
            name: score_items(items, name, "mean", f"{name.removeprefix(f'{self.name}_')}|{signature}")
            for name in items[0].statistics
        }
        return Measurement(scores, items)

    def _item(self, asked: Asked, scored: Sequence[Continuation]) -> Item:
        """Item of one question: whether the most likely option is right, and that option."""
        logprobs = [option.logprob for option in scored]
        answers, right = self.template.answers(asked.question), asked.question.answer
        chosen = logprobs.index(max(logprobs))
        statistics = {f"{self.name}_accuracy": [100.0 * (chosen == right)]}
        if self.template.shown == "text":
            per_character = [logprob / len(text) for logprob, text in zip(logprobs, answers, strict=True)]
            best = per_character.index(max(per_character))
            statistics[f"{self.name}_accuracy_norm"] = [100.0 * (best == right)]
        return Item(self.name, asked.question.id, statistics, answers[chosen])


def _layout(own: str, layout: str | None, columns: dict[str, str | list[str]] | None) -> FileLayout | None:
    """Layout that the user names, by its name or by columns; ``None`` to recognise it.

    Raises:
        ValueError: If both are given, or columns are incomplete; names key, value and remedy.
    """
    if columns is None:
        return None if layout is None else LAYOUTS[layout]
    if layout is not None:
        raise ValueError(f"{own}.columns: layout {layout} has columns of its own; leave one of the two out")
    roles = {"question", "options", "answer"}
    if not roles <= columns.keys() <= roles | {"context"}:
        raise ValueError(
            f"{own}.columns: {', '.join(columns)} are named, and question, options, answer and, if there is one, "
            "context are wanted; name a column for each"
        )
    if single := next((role for role in columns if role != "options" and not isinstance(columns[role], str)), None):
        raise ValueError(f"{own}.columns.{single}: {columns[single]!r} is not one column; name one")
    return own_layout(columns)
