"""Encode many prompts at once: the same token ids as one by one, about ten times as fast."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from semalign_pl.chat import control_tokens as control
from semalign_pl.chat import find_format as template
from semalign_pl.chat import format as chats
from semalign_pl.chat import turns
from semalign_pl.chat.control_tokens import encode_texts
from semalign_pl.chat.format import Chat
from semalign_pl.chat.turns import unrendered_roles
from semalign_pl.types import CannotRender, Prompt

_PROBES = ("\x00", " 问 \n", "<a> {b}")
T = TypeVar("T")


def refused_roles(chat: Chat) -> dict[str, str]:
    """Roles that the chat template does not render, with the reasons.

    Args:
        chat: Chat format of the base.
    """
    return {} if chat.template is None else unrendered_roles(chat.render)


def frame(chat: Chat) -> tuple[str, str] | None:
    """Text that the template adds before and after a message; ``None`` if it depends on the message.

    For example, a template may trim the message.

    Args:
        chat: Chat format of the base.
    """
    try:
        before, _, after = chat.text(_PROBES[0]).partition(_PROBES[0])
        same = all(chat.text(probe) == before + probe + after for probe in _PROBES)
    except CannotRender:
        return None
    return (before, after) if same else None


def encode_prompts(chat: Chat, prompts: Sequence[Prompt], encode: Callable[[Prompt], list[int]]) -> list[list[int]]:
    """Token ids of prompts in the chat template; the same as one by one.

    Args:
        chat: Chat format of the base.
        prompts: Prompts, each a user's message or the turns of a conversation.
        encode: Function from the turns of a conversation to token ids.

    Returns:
        Token ids, one list per prompt.

    Raises:
        CannotRender: If the template cannot render a prompt; has the prompt's index.
    """
    messages = {place: prompt for place, prompt in enumerate(prompts) if isinstance(prompt, str)}
    around = frame(chat) if messages else None
    if around is None:
        rendered = [_at(place, chat.text, message) for place, message in messages.items()]
    else:
        rendered = [around[0] + chat.control.guard(message) + around[1] for message in messages.values()]
    encoded = iter(encode_texts(chat.tokenizer, rendered))
    return [
        [*chat.start, *next(encoded)] if place in messages else _at(place, encode, prompt)
        for place, prompt in enumerate(prompts)
    ]


def _at(place: int, make: Callable[[Prompt], T], prompt: Prompt) -> T:
    try:
        return make(prompt)
    except CannotRender as error:
        raise CannotRender(str(error), place) from error


def signature(tokenizer: Any) -> str:
    """Hash of a tokenizer, its special tokens and its template, and of the code that turns texts into token ids.

    Args:
        tokenizer: Tokenizer of the base.

    Returns:
        24 hexadecimal digits.
    """
    whole = tokenizer._tokenizer.to_str() if tokenizer.is_fast else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    settings = json.dumps([tokenizer.chat_template, tokenizer.special_tokens_map], sort_keys=True, default=str)
    files = (__file__, chats.__file__, control.__file__, template.__file__, turns.__file__)
    code = "".join(Path(file).read_text(encoding="utf-8") for file in files)
    return hashlib.sha256(f"{type(tokenizer).__name__}\n{settings}\n{whole}\n{code}".encode()).hexdigest()[:24]
