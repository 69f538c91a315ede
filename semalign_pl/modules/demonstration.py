"""Demonstration: a prompt in which the reference is shown, for the teacher of self-distillation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.types import CannotRender, Example, Prompt

_PLACEHOLDERS = ("{prompt}", "{reference}")


def check_demonstration(template: str) -> None:
    """Refuse a template without a place for the prompt or for the reference.

    Args:
        template: Template of the teacher's message.

    Raises:
        ValueError: Names the placeholder.
    """
    for placeholder in _PLACEHOLDERS:
        if placeholder not in template:
            raise ValueError(
                f"model.init_args.demonstration: {template!r} has no {placeholder}; put it where the row's "
                f"{placeholder.strip('{}')} goes"
            )


def show_reference(prompt: Prompt, reference: str, template: str) -> Prompt:
    r"""Prompt in which the last message is replaced by the template with that message and the reference in it.

    Args:
        prompt: User's message, or the turns of a conversation.
        reference: Reference completion.
        template: Template with {prompt} and {reference}; all other braces are plain text, as they are in both texts.

    >>> show_reference("1 + 1", "2", "{prompt}\nFor example: {reference}")
    '1 + 1\nFor example: 2'
    """
    message = prompt if isinstance(prompt, str) else prompt[-1].content
    texts: dict[str, str] = dict(zip(_PLACEHOLDERS, (message, reference), strict=True))
    # One pass, so that a placeholder in one of the two texts stays as it is.
    shown = re.sub("|".join(map(re.escape, _PLACEHOLDERS)), lambda found: texts[found[0]], template)
    return shown if isinstance(prompt, str) else [*prompt[:-1], replace(prompt[-1], content=shown)]


def encode_demonstrations(
    batch: Sequence[Example], template: str, encoder: PromptEncoder, max_tokens: int
) -> list[list[int]]:
    """Token ids of the teacher's prompts of a batch, with the references in them.

    Args:
        batch: Examples with references.
        template: Template, as for ``show_reference``.
        encoder: Tokenizer and chat template of the policy.
        max_tokens: Maximum number of tokens per prompt.

    Returns:
        Token ids, one list per example; empty for a prompt that is too long, which would have to be cut.

    Raises:
        ValueError: If an example has no reference, or the chat template refuses its prompt; names the example.
    """
    for example in batch:
        if not example.reference.strip():
            raise ValueError(
                f"{example.id}: there is no reference to show to the teacher; give references (source_only: false in "
                "the task), or set replay: true for the corpus"
            )
    prompts = [show_reference(example.policy_prompt, example.reference, template) for example in batch]
    try:
        encoded, cut = encoder.encode_prompts(prompts, max_tokens)
    except CannotRender as error:
        raise ValueError(f"{batch[error.place].id}: {error}") from error
    return [[] if is_cut else ids for ids, is_cut in zip(encoded, cut, strict=True)]
