"""Chinese reading comprehension (CMRC 2018, arXiv 1810.07366), with generated answers and CMRC's own scoring."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semalign_pl.data.reading.formats import find_source_files
from semalign_pl.data.reading.formats.locate import hub_name
from semalign_pl.engine.generate import generate
from semalign_pl.files.documents import read_json
from semalign_pl.functional.formulas import score_items
from semalign_pl.metrics.cmrc import exact_match, f1
from semalign_pl.policy.policy import Policy
from semalign_pl.probes.base import Probe, existing_file
from semalign_pl.types import Item, Measurement

PROMPT = "阅读短文，回答问题。\n短文：{context}\n问题：{question}"


@dataclass(frozen=True)
class Question:
    """Question about a text.

    Attributes:
        id: Id of the question in the file.
        context: Text that the question is about.
        question: Question itself.
        answers: All accepted answers.
    """

    id: str
    context: str
    question: str
    answers: tuple[str, ...]


class ReadingComprehensionProbe(Probe):
    """Exact match, F1 and their mean (Avg) of generated answers to CMRC 2018 questions, 0 to 100.

    Args:
        file: JSON file in SQuAD style, as CMRC 2018 publishes it, or a hub dataset such as hfl/cmrc2018@validation.
        limit: Maximum number of questions, drawn by seed; null for all.
        max_prompt_tokens: Maximum number of tokens per prompt; longer texts are cut at their end (never the question),
            and counted in the signature.
        max_new_tokens: Maximum number of tokens per answer.
        name: Prefix of the scores' names, and name of the set of items.
        seed: Seed of the draw of questions, if there is a limit.
        every_n_steps: Number of optimiser steps between measurements during training; null to measure only in a test.
        prompt: Template of the user's message, with {context} and, unless all questions are empty, {question}. So a
            file of the same form can hold another task, such as texts to copy.
    """

    def __init__(
        self,
        file: str,
        limit: int | None = None,
        max_prompt_tokens: int = 2048,
        max_new_tokens: int = 32,
        name: str = "cmrc",
        seed: int = 0,
        every_n_steps: int | None = None,
        prompt: str = PROMPT,
    ) -> None:
        super().__init__(every_n_steps)
        self.file, self.limit, self.name, self.seed = file, limit, name, seed
        self.max_prompt_tokens, self.max_new_tokens = max_prompt_tokens, max_new_tokens
        self.questions, self.prompt = read_questions(file, limit, seed), prompt
        needed = ["{context}"] + ["{question}"] * any(one.question for one in self.questions)
        if missing := next((name for name in needed if name not in prompt), None):
            raise ValueError(f"{type(self).__name__}.prompt: {prompt!r} has no {missing}; put it where that text goes")

    def measure(self, policy: Policy) -> Measurement:
        """Answer every question greedily and score the answers."""
        prompts, cut = self._prompts(policy)
        texts = generate(policy, prompts, max_new_tokens=self.max_new_tokens, rows=32).texts
        items = [self._score(question, text) for question, text in zip(self.questions, texts, strict=True)]
        signature = (
            f"questions:{len(items)}|seed:{self.seed}|answers:generated|decode:greedy|max_new:{self.max_new_tokens}"
            f"|max_prompt:{self.max_prompt_tokens}|cut:{cut}|scorer:cmrc2018-v6|scale:100"
        )
        signature += "" if self.prompt == PROMPT else f"|prompt:{self.prompt!r}"
        scores = {
            f"{self.name}_{key}": score_items(items, f"{self.name}_{key}", "mean", f"{key}|{signature}")
            for key in ("em", "f1", "avg")
        }
        return Measurement(scores, items)

    def _score(self, question: Question, answer: str) -> Item:
        em, f = exact_match(answer, question.answers) * 100, f1(answer, question.answers) * 100
        values = {"em": em, "f1": f, "avg": (em + f) / 2}
        return Item(self.name, question.id, {f"{self.name}_{key}": [each] for key, each in values.items()}, answer)

    def _prompts(self, policy: Policy) -> tuple[list[list[int]], int]:
        prompts, cut = [], 0
        for q in self.questions:
            encode = _encoder(policy, self.prompt, q, self.max_prompt_tokens)
            ids = encode(q.context)
            if len(ids) > self.max_prompt_tokens:
                cut += 1
                ids = _longest_fitting(encode, q.context, self.max_prompt_tokens)
            prompts.append(ids)
        return prompts, cut


def _encoder(policy: Policy, prompt: str, question: Question, limit: int) -> Callable[[str], list[int]]:
    def encode(context: str) -> list[int]:
        # One pass, because a text may itself contain a placeholder; all other braces of the prompt are plain text.
        texts = {"{context}": context, "{question}": question.question}
        text = re.sub(r"\{context\}|\{question\}", lambda match: texts[match[0]], prompt)
        return policy.encoder.encode_prompt(text, max_tokens=limit + len(text.encode()) + 64)

    return encode


def _longest_fitting(encode: Callable[[str], list[int]], context: str, limit: int) -> list[int]:
    """Token ids of the prompt with the longest prefix of the context that fits, found by bisection."""
    low, high = 0, len(context)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if len(encode(context[:middle])) <= limit else (low, middle - 1)
    return encode(context[:low])


def read_questions(file: str, limit: int | None, seed: int) -> Sequence[Question]:
    """Questions of a SQuAD-style file.

    Args:
        file: JSON file with ``data[].paragraphs[].{context, qas[].{id, question, answers[].text}}``, or a hub dataset
            or folder with columns ``id``, ``context``, ``question`` and ``answers.text``.
        limit: Maximum number of questions, drawn by seed and returned in file order; ``None`` for all.
        seed: Seed of the draw.

    Returns:
        Questions in file order.

    Raises:
        ValueError: If the file is missing, is not JSON, is not in SQuAD style, has no question, or has a question
            without an answer.
    """
    option = "ReadingComprehensionProbe.file"
    try:
        if not Path(file).is_file() and (hub_name(file) or Path(file.partition("@")[0]).is_dir()):
            questions = _dataset_questions(file)
        else:
            path = existing_file(option, file)
            read = read_json(path, "give a CMRC 2018 file in SQuAD style", f"{option}: {file}")
            questions = [
                Question(str(q["id"]), p["context"], q["question"], tuple(str(a["text"]) for a in q["answers"]))
                for article in read["data"]
                for p in article["paragraphs"]
                for q in p["qas"]
            ]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{option}: {file} is not in SQuAD style ({type(error).__name__}: {error}); it needs "
            "data[].paragraphs[].context and qas[].{id, question, answers[].text}"
        ) from error
    unanswered = next((q.id for q in questions if not q.answers), None)
    if unanswered is not None or not questions:
        what = f"question {unanswered} has no answer" if questions else "there is no question in it"
        raise ValueError(f"{option}: {file}: {what}; every question needs at least one answer")
    if limit is None or limit >= len(questions):
        return questions
    return [questions[i] for i in sorted(random.Random(seed).sample(range(len(questions)), limit))]


def _dataset_questions(name: str) -> list[Question]:
    """Questions of a hub dataset, or of a folder with its layout, in the columns of ``hfl/cmrc2018``."""
    questions = []
    for source_file in find_source_files(name, "validation"):
        for _, row in source_file.read(set()):
            assert isinstance(row, Mapping), "`datasets` yields whole rows"
            id, context, question, answers = (row[column] for column in ("id", "context", "question", "answers"))
            texts = answers["text"] if isinstance(answers, Mapping) else [answer["text"] for answer in _list(answers)]
            questions.append(Question(str(id), str(context), str(question), tuple(map(str, texts))))
    return questions


def _list(value: object) -> list[Mapping[str, object]]:
    return value if isinstance(value, list) else []
