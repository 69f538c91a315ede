"""Reading comprehension in any language (SQuAD, CMRC 2018), with generated answers and each language's own scoring."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semalign_pl.data import prompts
from semalign_pl.data.reading.formats import find_source_files
from semalign_pl.data.reading.formats.locate import hub_name
from semalign_pl.engine.generate import generate
from semalign_pl.files.documents import read_json
from semalign_pl.functional.formulas import score_items
from semalign_pl.languages import get_language
from semalign_pl.metrics.squad_scorers import answer_scorer
from semalign_pl.policy.policy import Policy
from semalign_pl.probes.base import Probe, existing_file
from semalign_pl.probes.generation_rows import draw
from semalign_pl.types import Item, Measurement

_NAMES = {"zh": "cmrc", "en": "squad"}


@dataclass(frozen=True)
class Question:
    """Question about a text.

    Attributes:
        id: Id of the question in the file.
        context: Text that the question is about.
        question: Question itself.
        answers: All accepted answers; empty if the text does not answer the question.
    """

    id: str
    context: str
    question: str
    answers: tuple[str, ...]


class ReadingComprehensionProbe(Probe):
    """Exact match, F1 and their mean (Avg) of generated answers to questions about a text, 0 to 100.

    Answers are compared by the rules of their language: those of CMRC 2018 for Chinese, of SQuAD for English, else on
    the units of languages.yaml. A question without an answer (SQuAD 2.0) is right if the output is a no-answer word.

    Args:
        file: JSON file in SQuAD style, or a hub dataset such as hfl/cmrc2018@validation.
        limit: Maximum number of questions, drawn by seed; null for all.
        max_prompt_tokens: Maximum number of tokens per prompt; longer texts are cut at their end (never the question),
            and counted in the signature.
        max_new_tokens: Maximum number of tokens per answer.
        name: Prefix of the scores' names, and name of the set of items; by default cmrc for Chinese, squad for English,
            reading_CODE for any other language.
        seed: Seed of the draw of questions, if there is a limit.
        every_n_steps: Number of optimiser steps between measurements during training; null to measure only in a test.
        prompt: Template of the user's message, with {context} and, unless all questions are empty, {question}. So a
            file of the same form can hold another task, such as texts to copy. Null for the default of the language.
        language: Code of the language of the questions, or a .yaml file of your own.
        no_answer_words: Outputs that say that the text has no answer; the first replaces {no_answer} in the prompt.
            Null for the default of the language if questions have is_impossible. If given, a question without an answer
            is unanswerable, too.
    """

    def __init__(
        self,
        file: str,
        limit: int | None = None,
        max_prompt_tokens: int = 2048,
        max_new_tokens: int = 32,
        name: str | None = None,
        seed: int = 0,
        every_n_steps: int | None = None,
        prompt: str | None = None,
        language: str = "zh",
        no_answer_words: list[str] | None = None,
    ) -> None:
        super().__init__(every_n_steps)
        code = get_language(language).code.split("-")[0]
        self.name = _NAMES.get(code, f"reading_{code}") if name is None else name
        self.file, self.limit, self.seed, self.language = file, limit, seed, language
        self.max_prompt_tokens, self.max_new_tokens = max_prompt_tokens, max_new_tokens
        self.questions = read_questions(file, limit, seed, answerless=no_answer_words is not None)
        self._scorer = answer_scorer(language)
        unanswerable = not all(one.answers for one in self.questions)
        self.no_answer_words = no_answer_words or ([_no_answer_word(code)] if unanswerable else [])
        self.prompt = default_prompt(code, bool(self.no_answer_words)) if prompt is None else prompt
        if self.no_answer_words:
            self.prompt = self.prompt.replace("{no_answer}", self.no_answer_words[0])
        elif "{no_answer}" in self.prompt:
            raise ValueError(
                f"{type(self).__name__}.prompt: {prompt!r} has {{no_answer}}, and every question has an answer; leave "
                "it out, or give no_answer_words"
            )
        needed = ["{context}"] + ["{question}"] * any(one.question for one in self.questions)
        if missing := next((name for name in needed if name not in self.prompt), None):
            raise ValueError(f"{type(self).__name__}.prompt: {prompt!r} has no {missing}; put it where that text goes")

    def measure(self, policy: Policy) -> Measurement:
        """Answer every question greedily and score the answers."""
        asked, cut = self._prompts(policy)
        texts = generate(policy, asked, max_new_tokens=self.max_new_tokens, rows=32).texts
        items = [self._score(question, text) for question, text in zip(self.questions, texts, strict=True)]
        signature = (
            f"questions:{len(items)}|seed:{self.seed}|answers:generated|decode:greedy|max_new:{self.max_new_tokens}"
            f"|max_prompt:{self.max_prompt_tokens}|cut:{cut}|scorer:{self._scorer.name}|scale:100"
        )
        if self.no_answer_words:
            unanswerable = sum(not one.answers for one in self.questions)
            signature += f"|unanswerable:{unanswerable}|no_answer:{self.no_answer_words!r}"
        # The signature of published figures does not have the default prompt in Chinese.
        signature += "" if self.prompt == default_prompt("zh") else f"|prompt:{self.prompt!r}"
        scores = {
            f"{self.name}_{key}": score_items(items, f"{self.name}_{key}", "mean", f"{key}|{signature}")
            for key in ("em", "f1", "avg")
        }
        return Measurement(scores, items)

    def _score(self, question: Question, answer: str) -> Item:
        em, f = (100 * score for score in self._compare(answer, question.answers))
        values = {"em": em, "f1": f, "avg": (em + f) / 2}
        return Item(self.name, question.id, {f"{self.name}_{key}": [each] for key, each in values.items()}, answer)

    def _compare(self, answer: str, answers: Sequence[str]) -> tuple[float, float]:
        """Exact match and F1, 0 to 1; with no-answer words by the rules of SQuAD 2.0."""
        units = self._scorer.units
        if self.no_answer_words:
            # As in SQuAD 2.0, an answer of which nothing is left (an article, a sign) is no answer.
            answers = [one for one in answers if units(one)]
            no_answer = not units(answer) or units(answer) in map(units, self.no_answer_words)
            if no_answer or not answers:
                right = float(no_answer and not answers)
                return right, right
        return self._scorer.exact_match(answer, answers), self._scorer.f1(answer, answers)

    def _prompts(self, policy: Policy) -> tuple[list[list[int]], int]:
        asked, cut = [], 0
        for q in self.questions:
            encode = _encoder(policy, self.prompt, q, self.max_prompt_tokens)
            ids = encode(q.context)
            if len(ids) > self.max_prompt_tokens:
                cut += 1
                ids = _longest_fitting(encode, q.context, self.max_prompt_tokens)
            asked.append(ids)
        return asked, cut


def default_prompt(language: str, no_answer: bool = False) -> str:
    """Default prompt in a language, with ``{context}`` and ``{question}``.

    Args:
        language: Code of the language.
        no_answer: True for the prompt that also says what to write if the text has no answer, as ``{no_answer}``.

    Raises:
        ValueError: If there is none in this language.
    """
    name = "ReadingComprehension" + "Unanswerable" * no_answer
    return prompts.wording(name, language, {}, "ReadingComprehensionProbe.prompt")


def _no_answer_word(language: str) -> str:
    if language not in prompts.prompt_languages():
        raise ValueError(
            f"ReadingComprehensionProbe.no_answer_words: there is none for {language!r}, and a question has no answer; "
            "give the words, e.g. [unanswerable]"
        )
    return prompts.wording("NoAnswer", language, {})


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


def read_questions(file: str, limit: int | None, seed: int, answerless: bool = False) -> Sequence[Question]:
    """Questions of a SQuAD-style file.

    Args:
        file: JSON file with ``data[].paragraphs[].{context, qas[].{id, question, answers[].text, is_impossible}}``, or
            a hub dataset or folder with columns ``id``, ``context``, ``question`` and ``answers.text``.
        limit: Maximum number of questions, drawn by seed and returned in file order; ``None`` for all.
        seed: Seed of the draw.
        answerless: True to accept questions without an answer that are not marked as ``is_impossible``.

    Returns:
        Questions in file order.

    Raises:
        ValueError: If the file is missing, is not JSON, is not in SQuAD style, has no question, or has a question
            without an answer.
    """
    option, impossible = "ReadingComprehensionProbe.file", set[str]()
    try:
        if not Path(file).is_file() and (hub_name(file) or Path(file.partition("@")[0]).is_dir()):
            questions = _dataset_questions(file)
        else:
            path = existing_file(option, file)
            read = read_json(path, "give a CMRC 2018 file in SQuAD style", f"{option}: {file}")
            asked = [(p["context"], q) for article in read["data"] for p in article["paragraphs"] for q in p["qas"]]
            impossible = {str(q["id"]) for _, q in asked if q.get("is_impossible") is True}
            questions = [
                Question(
                    str(q["id"]),
                    context,
                    q["question"],
                    () if str(q["id"]) in impossible else tuple(str(a["text"]) for a in q["answers"]),
                )
                for context, q in asked
            ]
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{option}: {file} is not in SQuAD style ({type(error).__name__}: {error}); it needs "
            "data[].paragraphs[].context and qas[].{id, question, answers[].text}"
        ) from error
    unanswered = next((q.id for q in questions if not (q.answers or q.id in impossible or answerless)), None)
    if unanswered is not None or not questions:
        what = f"question {unanswered} has no answer" if questions else "there is no question in it"
        raise ValueError(
            f"{option}: {file}: {what}; every question needs at least one answer, or is_impossible: true; or give "
            "no_answer_words"
        )
    return draw(questions, limit, seed)


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
