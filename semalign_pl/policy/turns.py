"""Conversations in a chat template: what the template can render, and which turns are left out where they are too many.

A template that has no system turn gets the system text before the first user message, two line breaks between, as
Gemma's documentation says ("provide system-level instructions directly within the initial user prompt") and as
Gemma 3's own template does.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jinja2.exceptions import TemplateError

from semalign_pl.policy.control import encode_texts
from semalign_pl.types import CannotRender, Prompt, Turn

if TYPE_CHECKING:
    from semalign_pl.policy.chat import Chat

_PROBE = {role: f"SEMALIGN{role.upper()}PROBE" for role in ("system", "user", "assistant", "tool")}


def messages_of(turns: Sequence[Turn], typed: Collection[str] = ()) -> list[dict[str, Any]]:
    """Turns as chat templates want them.

    Args:
        turns: A conversation.
        typed: Roles whose content is a list of typed parts, as vision models' templates want it.
    """
    return [
        {"role": t.role, "content": [{"type": "text", "text": t.content}] if t.role in typed else t.content}
        for t in turns
    ]


def format_plain(turns: Sequence[Turn], end: str) -> str:
    """Turns for a tokenizer without a chat template: each followed by a line break, answers by the end-of-turn token.

    So what was said before is laid out as it was trained: a message, a line break, its answer, its end.

    Args:
        turns: Turns in any order.
        end: The end-of-turn token; a line break where the tokenizer has none.
    """
    return "".join(turn.content + ((end or "\n") if turn.role == "assistant" else "\n") for turn in turns)


def unrendered_roles(render: Callable[[Sequence[Turn]], str]) -> dict[str, str]:
    """Find the roles that a chat template refuses or leaves out, and the reasons.

    Args:
        render: Function from turns to the template's text.
    """
    talk = [Turn("user", _PROBE["user"]), Turn("assistant", _PROBE["assistant"]), Turn("user", "?")]
    tries = {
        "assistant": talk,
        "system": [Turn("system", _PROBE["system"]), talk[0]],
        "tool": [*talk[:2], Turn("tool", _PROBE["tool"])],
    }
    faults = {}
    for role, turns in tries.items():
        try:
            text = render(turns)
            if not all(turn.content in text for turn in turns):
                faults[role] = "it leaves the text out"
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError) as error:
            faults[role] = " ".join(str(error).split())[:100] or type(error).__name__
    return faults


def adapt(prompt: Prompt, faults: Mapping[str, str]) -> Prompt:
    """A prompt that the template renders, which says all that was said.

    Args:
        prompt: A message, which any template renders, or turns whose order was checked.
        faults: Roles that the template does not render, with the reasons.

    Raises:
        CannotRender: If there is no way but to leave something out.
    """
    if isinstance(prompt, str):
        return prompt
    for place, turn in enumerate(prompt, 1):
        if turn.role in faults and turn.role != "system":
            raise CannotRender(
                f"turn {place} has the role {turn.role}, which the chat template of model.init_args.base does not "
                f"render ({faults[turn.role]}); drop the row, or use a base whose template does"
            )
    if prompt[0].role != "system" or "system" not in faults:
        return prompt
    if len(prompt) == 1:
        raise CannotRender("the conversation is a system turn alone; add a user turn, or drop the row")
    return [Turn("user", f"{prompt[0].content}\n\n{prompt[1].content}"), *prompt[2:]]


def shorten(chat: Chat, prompt: Prompt, encode: Callable[[Prompt], list[int]], max_tokens: int) -> list[int] | None:
    """Token ids of a prompt that is too long, cut to fit: first the oldest exchanges go, then the last message's end.

    Args:
        chat: Layout of the base.
        prompt: A message, or turns.
        encode: Function from a prompt to token ids.
        max_tokens: Largest number of tokens.

    Returns:
        ``None`` if not even an empty last message fits.
    """
    if isinstance(prompt, str):
        return cut_message(chat, prompt, encode, max_tokens)
    *before, last = fit(prompt, encode, max_tokens)
    return cut_message(chat, last.content, lambda message: encode([*before, Turn(last.role, message)]), max_tokens)


def without_oldest(turns: Sequence[Turn], exchanges: int) -> list[Turn]:
    """Turns without the oldest exchanges, each a user turn and all up to the next one; the system turn stays.

    Args:
        turns: A conversation.
        exchanges: Number of exchanges to leave out.
    """
    system, rest = _starts(turns)
    return [*turns[:system], *turns[rest[exchanges] :]]


def _starts(turns: Sequence[Turn]) -> tuple[int, list[int]]:
    system = int(turns[0].role == "system")
    return system, [place for place, turn in enumerate(turns) if turn.role == "user"] or [system]


def fit(turns: Sequence[Turn], encode: Callable[[Sequence[Turn]], list[int]], max_tokens: int) -> list[Turn]:
    """The most turns that fit: the oldest exchanges are left out; at least the last exchange is kept, fit or not.

    Args:
        turns: A conversation.
        encode: Function from turns to token ids.
        max_tokens: Largest number of tokens.
    """
    most = len(_starts(turns)[1]) - 1
    dropped = bisect_left(range(most), True, key=lambda n: len(encode(without_oldest(turns, n))) <= max_tokens)
    return without_oldest(turns, dropped)


def cut_message(chat: Chat, message: str, encode: Callable[[str], list[int]], max_tokens: int) -> list[int] | None:
    """Token ids with a message cut at its end so that they fit; ``None`` if not even an empty one does.

    Args:
        chat: Layout of the base.
        message: The message.
        encode: Function from the message to the token ids of the whole prompt.
        max_tokens: Largest number of tokens.
    """
    ids = encode(message)
    (tokens,) = encode_texts(chat.tokenizer, [chat.control.guard(message)])
    keep = len(tokens) - (len(ids) - max_tokens)
    while len(ids) > max_tokens:
        if keep <= 0:
            return None
        kept = chat.tokenizer.decode(tokens[:keep], clean_up_tokenization_spaces=False)
        ids = encode(kept.rstrip("\ufffd"))
        keep -= max(1, len(ids) - max_tokens)
    return ids
