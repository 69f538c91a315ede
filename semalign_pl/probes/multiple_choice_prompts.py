"""Prompts of multiple-choice questions: templates, few-shot examples, and token ids of contexts and options."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from semalign_pl.chat.control_tokens import encode_texts
from semalign_pl.chat.find_format import text_start
from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.probes.multiple_choice_layouts import FieldError, Question, Shown

_PLACE = re.compile(r"\{(context|question|options|answer|[A-Z])\}")


@dataclass(frozen=True)
class Asked:
    """Question as the model gets it.

    Attributes:
        question: Question with its options and answer.
        context: Text up to the answer: examples and question, without white space at its end.
        continuations: Text of each option after the context, with the white space before it.
    """

    question: Question
    context: str
    continuations: tuple[str, ...]


@dataclass(frozen=True)
class Template:
    """Template of a question.

    Attributes:
        text: Text with {question} and {answer}, which is at its end; also {context}, and {options} for one line per
            option (``A. …``) or {A}, {B}, … for single ones.
        shown: Kind of answer: the letter of an option, or its text.
    """

    text: str
    shown: Shown

    def answers(self, question: Question) -> tuple[str, ...]:
        """Possible answers to a question: letters or texts.

        Raises:
            FieldError: If there are more options than letters.
        """
        if self.shown == "text":
            return question.options
        if len(question.options) > len(ascii_uppercase):
            raise FieldError(f"{len(question.options)} options are more than there are letters; set options: text")
        return tuple(ascii_uppercase[: len(question.options)])

    def fill(self, question: Question) -> str:
        """Question up to its answer.

        Args:
            question: Question to ask.

        Raises:
            FieldError: If the template names an option that the question does not have.
        """
        letters = dict(zip(ascii_uppercase, question.options, strict=False))
        texts = {
            "context": question.context,
            "question": question.question,
            "options": "\n".join(f"{letter}. {option}" for letter, option in letters.items()),
            "answer": "",
            **letters,
        }

        def text(match: re.Match[str]) -> str:
            if match[1] not in texts:
                raise FieldError(f"{len(question.options)} options, and the prompt has {match[0]}; write {{options}}")
            return texts[match[1]]

        # One pass, because a text may itself contain a placeholder.
        return _PLACE.sub(text, self.text)


def template_of(option: str, text: str, shown: Shown) -> Template:
    """Check the text of a template.

    Args:
        option: YAML key, for messages.
        text: Text of the template.
        shown: Kind of answer.

    Raises:
        ValueError: If a placeholder is missing, or {answer} is not at the end.
    """
    whole = text == "{answer}" and shown == "text"  # the options are whole texts, as BLiMP's sentences
    if "{question}" not in text and not whole:
        raise ValueError(f"{option}: {text!r} has no {{question}}; put it where that text goes")
    if not text.endswith("{answer}") or text.count("{answer}") > 1:
        raise ValueError(f"{option}: {text!r} does not end in {{answer}}; put it there, once, after its space if any")
    options = {"{options}", "{A}"}
    if shown == "letters" and not any(place in text for place in options):
        raise ValueError(f"{option}: {text!r} asks for a letter and shows no options; add {{options}}")
    return Template(text, shown)


def ask(question: Question, template: Template, examples: Sequence[Question], description: str) -> Asked:
    """Question after its examples, as lm-evaluation-harness writes them: separated by a blank line.

    Args:
        question: Question to ask.
        template: Template of question and examples.
        examples: Questions shown with their answers.
        description: Text before the examples.

    Raises:
        ValueError: If a question does not fit the template; names the question.
    """
    shown = ""
    for one in [*examples, question]:
        try:
            text, answers = template.fill(one), template.answers(one)
        except FieldError as error:
            raise ValueError(f"{one.id}: {error}") from error
        if one is question:
            whole = f"{description}{shown}{text}"
            context = whole.rstrip()
            return Asked(question, context, tuple(whole[len(context) :] + answer for answer in answers))
        shown += f"{text}{answers[one.answer]}\n\n"
    raise AssertionError("the question is the last one")


def encode(
    encoder: PromptEncoder, asked: Sequence[Asked], max_tokens: int, chat: bool
) -> tuple[list[list[int]], list[list[list[int]]], int]:
    """Token ids of contexts and options.

    Args:
        encoder: Tokenizer and chat template of the base.
        asked: Questions.
        max_tokens: Maximum number of tokens per context; of longer ones the first tokens are left out.
        chat: Flag to write the context as a user's message with the chat template, and the option as its answer.

    Returns:
        Token ids of each context, token ids of its options, and number of contexts that were cut.
    """
    if chat:
        # Their cut would be the end of the message, which is the question.
        contexts, _ = encoder.encode_prompts([one.context for one in asked], max_tokens=2**31)
        options = [encoder.chat.encode_answers([text.lstrip() for text in one.continuations]) for one in asked]
    else:
        guard, tokenizer = encoder.chat.control.guard, encoder.tokenizer
        start = list(text_start(tokenizer))
        contexts = encode_texts(tokenizer, [guard(one.context) for one in asked])
        whole = iter(
            encode_texts(tokenizer, [guard(one.context + text) for one in asked for text in one.continuations])
        )
        options = []
        for one, before in zip(asked, contexts, strict=True):
            options.append([])
            for text in one.continuations:
                ids = next(whole)
                # Where a text merges with the context's last token, it is encoded alone, as generation would write it.
                merged = ids[: len(before)] != before or len(ids) == len(before)
                options[-1].append(encode_texts(tokenizer, [guard(text)])[0] if merged else ids[len(before) :])
        if not start and not all(contexts):  # an option alone: as lm-evaluation-harness, it follows BOS or EOS
            start = [tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id]
        contexts = [start + ids for ids in contexts]
    cut = sum(len(ids) > max_tokens for ids in contexts)
    return [ids[-max_tokens:] for ids in contexts], options, cut
