"""Fit conversations to a chat template: roles that it cannot render, and turns to leave out of a long conversation.

If a template has no system turn, the system text is put before the first user message, separated by two line breaks.
Gemma's documentation says so ("provide system-level instructions directly within the initial user prompt"), and Gemma
3's own template does so.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from jinja2.exceptions import TemplateError

from semalign_pl.chat.bounded_template import Message
from semalign_pl.chat.control_tokens import encode_texts
from semalign_pl.chat.given_template import OPTION
from semalign_pl.messages.error_text import single_line
from semalign_pl.types import CannotRender, Prompt, Turn

if TYPE_CHECKING:
    from semalign_pl.chat.format import Chat

_PROBE = {role: f"SEMALIGN{role.upper()}PROBE" for role in ("system", "user", "assistant", "tool")}


def messages_of(turns: Sequence[Turn], typed: Collection[str] = ()) -> list[Message]:
    """Convert turns to the messages that chat templates take.

    Args:
        turns: Turns of a conversation.
        typed: Roles whose content must be a list of typed parts, as in templates of vision models.

    Returns:
        Messages with ``role`` and ``content``.
    """
    return [
        {"role": t.role, "content": [{"type": "text", "text": t.content}] if t.role in typed else t.content}
        for t in turns
    ]


def format_plain(turns: Sequence[Turn], end: str) -> str:
    """Text of turns for a tokenizer without a chat template.

    A line break follows each turn, but the end-of-turn token follows an answer. So earlier turns have the format of
    training: message, line break, answer, end-of-turn token. An empty system turn writes nothing.

    Args:
        turns: Turns in any order.
        end: End-of-turn token; empty if the tokenizer has none, for a line break in its place.
    """
    written = [turn for turn in turns if turn.content or turn.role != "system"]
    return "".join(turn.content + ((end or "\n") if turn.role == "assistant" else "\n") for turn in written)


def unrendered_roles(render: Callable[[Sequence[Turn]], str]) -> dict[str, str]:
    """Find the roles that a chat template refuses or leaves out.

    Args:
        render: Function from turns to the template's text.

    Returns:
        Reasons by role.
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
            faults[role] = single_line(error, 100)
    return faults


def adapt(prompt: Prompt, faults: Mapping[str, str]) -> Prompt:
    """Change a prompt so that the template renders it, without leaving any text out.

    Args:
        prompt: User's message, which any template renders, or turns whose order was checked.
        faults: Roles that the template does not render, with the reasons.

    Returns:
        Prompt, in which the system text may be part of the first user message.

    Raises:
        CannotRender: If the prompt cannot be rendered without leaving something out.
    """
    if isinstance(prompt, str):
        return prompt
    for place, turn in enumerate(prompt, 1):
        if turn.role in faults and turn.role != "system":
            raise CannotRender(
                f"turn {place} has the role {turn.role}, which the chat template of model.init_args.base does not "
                f"render ({faults[turn.role]}); drop the row, or give a template that does as {OPTION}"
            )
    if prompt[0].role != "system" or "system" not in faults:
        return prompt
    if len(prompt) == 1:
        raise CannotRender("the conversation is a system turn alone; add a user turn, or drop the row")
    if not prompt[0].content:
        return prompt[1:]
    return [Turn("user", f"{prompt[0].content}\n\n{prompt[1].content}"), *prompt[2:]]


def shorten(chat: Chat, prompt: Prompt, encode: Callable[[Prompt], list[int]], max_tokens: int) -> list[int] | None:
    """Shorten a prompt that is too long: leave out the oldest exchanges, then cut the end of the last message.

    Args:
        chat: Chat format of the base.
        prompt: User's message, or turns of a conversation.
        encode: Function from a prompt to token ids.
        max_tokens: Maximum number of tokens.

    Returns:
        Token ids of the shortened prompt; ``None`` if not even an empty last message fits.
    """
    if isinstance(prompt, str):
        return cut_message(chat, prompt, encode, max_tokens)
    *before, last = fit(prompt, encode, max_tokens)
    return cut_message(chat, last.content, lambda message: encode([*before, Turn(last.role, message)]), max_tokens)


def without_oldest(turns: Sequence[Turn], exchanges: int) -> list[Turn]:
    """Turns without the oldest exchanges; the system turn is kept.

    An exchange is a user turn and all turns up to the next user turn.

    Args:
        turns: Turns of a conversation.
        exchanges: Number of exchanges to leave out.
    """
    system, rest = _starts(turns)
    return [*turns[:system], *turns[rest[exchanges] :]]


def _starts(turns: Sequence[Turn]) -> tuple[int, list[int]]:
    system = int(turns[0].role == "system")
    return system, [place for place, turn in enumerate(turns) if turn.role == "user"] or [system]


def fit(turns: Sequence[Turn], encode: Callable[[Sequence[Turn]], list[int]], max_tokens: int) -> list[Turn]:
    """Leave out as few of the oldest exchanges as needed to fit; the last exchange is kept even if it does not fit.

    Args:
        turns: Turns of a conversation.
        encode: Function from turns to token ids.
        max_tokens: Maximum number of tokens.

    Returns:
        Turns that are kept.
    """
    most = len(_starts(turns)[1]) - 1
    dropped = bisect_left(range(most), True, key=lambda n: len(encode(without_oldest(turns, n))) <= max_tokens)
    return without_oldest(turns, dropped)


def cut_message(chat: Chat, message: str, encode: Callable[[str], list[int]], max_tokens: int) -> list[int] | None:
    """Cut a message at its end so that the prompt fits.

    Args:
        chat: Chat format of the base.
        message: Message to cut.
        encode: Function from the message to the token ids of the whole prompt.
        max_tokens: Maximum number of tokens of the prompt.

    Returns:
        Token ids of the prompt; ``None`` if not even an empty message fits.
    """
    ids = encode(message)
    (tokens,) = encode_texts(chat.tokenizer, [chat.control.guard(message)])
    keep = len(tokens) - (len(ids) - max_tokens)
    while len(ids) > max_tokens:
        if keep <= 0:
            return None
        (kept,) = chat.tokenizer.batch_decode([tokens[:keep]], clean_up_tokenization_spaces=False)
        ids = encode(kept.rstrip("\ufffd"))
        keep -= max(1, len(ids) - max_tokens)
    return ids
